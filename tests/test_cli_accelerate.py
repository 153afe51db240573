import pytest
import spacy
from spacy.cli import app
from spacy.util import registry
from typer.testing import CliRunner

from spacy_torch.architectures.convert import copy_hash_embed_cnn

SHAPE = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}


@pytest.fixture
def run():
    registry.cli.get("torch-accelerate")  # as python -m spacy does

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-accelerate", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture
def stock(tmp_path):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": SHAPE}
    tagger = nlp.add_pipe("tagger", config={"model": model})
    for label in ("A", "B", "C"):
        tagger.add_label(label)
    nlp.initialize()
    output = tagger.model.get_ref("output_layer")
    output.set_param("W", output.ops.xp.random.normal(size=(3, 16)).astype("float32"))
    nlp.to_disk(tmp_path / "stock")
    return tmp_path / "stock"


@pytest.fixture
def damaged(monkeypatch):
    """A conversion that goes wrong."""

    def copy_wrongly(model, module):
        copy_hash_embed_cnn(model, module)
        module.embed.mix.weight.data.neg_()

    monkeypatch.setattr("spacy_torch.architectures.stock_tok2vec.copy_hash_embed_cnn", copy_wrongly)


def tags(path):
    return [token.tag_ for token in spacy.load(path)("the cards have not arrived in Rome")]


def test_pipeline_is_written_with_a_table_of_its_parts(run, stock, tmp_path):
    sample = tmp_path / "sample.txt"
    sample.write_text("one\ntwo words\n", encoding="utf-8")
    code, output = run(stock, tmp_path / "faster", "--sample", sample)
    assert code == 0, output
    assert "tagger.model.tok2vec spacy.HashEmbedCNN.v2 yes" in output
    assert "2 texts are annotated as before" in output
    assert tags(tmp_path / "faster") == tags(stock)
    assert "spacy-torch.Tok2Vec.v1" in (tmp_path / "faster" / "config.cfg").read_text("utf-8")


def test_pipeline_that_annotates_differently_is_not_written_unless_forced(
    run, stock, tmp_path, damaged
):
    code, output = run(stock, tmp_path / "faster")
    assert code == 1
    assert "texts are annotated differently: nothing was written" in output
    assert "Difference(text=" in output
    assert not (tmp_path / "faster").exists()
    code, output = run(stock, tmp_path / "faster", "--force")
    assert code == 0
    assert "texts are annotated differently" in output
    assert spacy.load(tmp_path / "faster").pipe_names == ["tagger"]


def test_pipeline_without_stock_encoders_is_not_written(run, stock, tmp_path):
    assert run(stock, tmp_path / "faster")[0] == 0
    code, output = run(tmp_path / "faster", tmp_path / "again")
    assert code == 1
    assert "no: it is ours already" in output
    assert "no part that could be replaced" in output
    assert not (tmp_path / "again").exists()


def test_folder_with_something_in_it_is_left_alone(run, stock, tmp_path):
    code, output = run(stock, stock)
    assert code == 1
    assert "There is something at" in output
    code, output = run(tmp_path / "nowhere", tmp_path / "faster")
    assert code == 1
    assert "Cannot read the pipeline" in output
