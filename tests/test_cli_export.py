import pytest
import spacy
from spacy.cli import app
from spacy.util import registry
from trained_pipelines import CNN, TEXTS, annotate, make_ner, make_textcat, train
from typer.testing import CliRunner


@pytest.fixture
def run():
    registry.cli.get("torch-export")  # as python -m spacy does

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-export", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "trained"
    train({**make_textcat(), **make_ner()}).to_disk(path)
    return path


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


def test_pipeline_is_written_with_a_table_of_its_modules(run, trained, sample, tmp_path):
    code, output = run(trained, tmp_path / "out", "--format", "int8", "--sample", sample)
    assert code == 0, output
    assert "classify spacy-torch.TextCat.v1 2 matrices of 8 bits" in output
    assert "find spacy-torch.CRFTagger.v1" in output
    assert "4 texts are annotated as before" in output
    assert "it predicts, and cannot be trained" in output
    found, expected = annotate(spacy.load(tmp_path / "out")), annotate(spacy.load(trained))
    assert [row["ents"] for row in found] == [row["ents"] for row in expected]


def test_one_component_can_be_named(run, trained, sample, tmp_path):
    code, output = run(trained, tmp_path / "out", "-c", "find", "-s", sample)
    assert code == 0, output
    assert "classify" not in output
    code, output = run(trained, tmp_path / "other", "-c", "nobody", "-s", sample)
    assert code == 1
    assert "no component 'nobody' with a torch module" in output


def test_pipeline_that_annotates_differently_is_not_written_unless_forced(
    run, trained, sample, tmp_path, monkeypatch
):
    from spacy_torch.nn.int8 import Int8Matrix

    of = Int8Matrix.of
    monkeypatch.setattr(Int8Matrix, "of", lambda weight: of(-weight))
    code, output = run(trained, tmp_path / "out", "-s", sample)
    assert code == 1
    assert "texts differ" in output
    assert "Difference(text=" in output
    assert "Nothing was written (--force writes it)" in output
    assert "at most 1% may be" in output
    assert not (tmp_path / "out").exists()
    code, output = run(trained, tmp_path / "out", "-s", sample, "--force")
    assert code == 0
    assert "at most 1% may be" in output
    assert spacy.load(tmp_path / "out").pipe_names == ["classify", "find"]


def test_pipeline_with_nothing_to_export_is_not_written(run, tmp_path):
    model = {**make_textcat()["classify"]["model"], "encoder": {**CNN, "width": 8}}
    train({"classify": {"factory": "torch_textcat", "model": model}}, steps=1).to_disk(
        tmp_path / "small"
    )
    code, output = run(tmp_path / "small", tmp_path / "out")
    assert code == 1
    assert "no: it has no matrix that is large enough" in output
    assert "no part to export" in output


def test_mistakes_are_told_and_nothing_is_overwritten(run, trained, tmp_path):
    code, output = run(trained, trained)
    assert code == 1
    assert "There is something at" in output
    code, output = run(tmp_path / "nowhere", tmp_path / "out")
    assert code == 1
    assert "Cannot export the pipeline" in output
    code, output = run(trained, tmp_path / "out", "--format", "float7")
    assert code == 1
    assert "format must be one of int8" in output
