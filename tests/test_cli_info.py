import json

import pytest
import spacy
import tiny_textcat
from spacy.cli import app
from spacy.util import registry
from typer.testing import CliRunner


@pytest.fixture
def run():
    registry.cli.get("torch-info")  # as python -m spacy does

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-info", *map(str, arguments)])
        return result.exit_code, result.output

    return run


@pytest.fixture
def folder(tmp_path):
    nlp = tiny_textcat.make_nlp()
    tiny_textcat.train(nlp, steps=1)
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def rows_of(output):
    """The lines of components, as titles and values."""
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line.startswith("  ")]
    return dict(line for line in lines if len(line) == 2)


def test_component_is_shown_with_its_module_and_its_weights(run, folder):
    code, output = run(folder)
    rows = rows_of(output)
    assert code == 0
    assert rows["model"] == "tests.Bag.v1"
    assert rows["module"] == "Bag"
    assert rows["parameters"] == "1,922 to train, 0 frozen"  # 101 * 16, 17 * 16 and 17 * 2
    assert rows["in"] == "memory   7.5 KiB, float32, on cpu"  # 1,922 * 4 / 1,024
    assert rows["sizes"] == "n_labels 2"
    assert rows["weights"] == "model.safetensors: 7.5 KiB"
    assert rows["digest"].startswith("sha256:")
    assert "EmbeddingBag" not in output


def test_modules_are_listed_if_asked_for(run, folder):
    _, output = run(folder, "--modules")
    parts = [line.split() for line in output.splitlines()]
    assert ["embed", "EmbeddingBag", "1,616"] in parts
    assert ["dropout", "Dropout"] in parts


def test_stored_pipeline_is_shown_without_loading_it(run, folder, monkeypatch):
    monkeypatch.setattr(spacy, "load", None)
    code, output = run(folder, "--stored")
    rows = rows_of(output)
    assert code == 0
    assert rows["weights"] == "model.safetensors: 1,922 numbers, float32, 7.5 KiB"
    assert "module" not in rows


def test_json_holds_all_of_it(run, folder):
    code, output = run(folder, "--json")
    info = json.loads(output)
    assert code == 0
    (component,) = info["components"]
    assert component["modules"][0]["n_trainable"] == 1922
    assert component["stored"]["weights"][0]["digests"].keys() == {
        *("embed.weight", "hidden.weight", "hidden.bias", "output.weight", "output.bias")
    }
    assert (info["has_torch"], info["damaged"], info["problem"]) == (True, [], None)


def test_damage_is_named_and_the_exit_code_says_so(run, folder):
    file = folder / "torch_textcat" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, output = run(folder)
    assert code == 1
    assert "It cannot be loaded" in output
    assert "torch_textcat/model.safetensors: " in output
    assert "cut short in tensor" in " ".join(output.split())
    code, output = run(folder, "--json")
    assert code == 1
    assert "cut short" in json.loads(output)["damaged"][0]
    code, output = run(folder, "--stored")
    assert code == 1
    assert "It is damaged" in output


def test_pipeline_without_torch_is_said_to_have_none(run, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path)
    code, output = run(tmp_path)
    assert code == 0
    assert "There are no torch modules in it" in output


def test_several_modules_of_a_component_are_numbered(run, tmp_path):
    from tiny_encoder import ENCODER

    tok2vec = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": tok2vec}
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_tagger", config={"model": model}).add_label("A")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    _, output = run(tmp_path)
    rows = rows_of(output)
    assert {"module", "digest", "weights"} <= rows.keys()
    assert output.count("module #2") == output.count("digest #2") == 1
    assert "model.1.safetensors" in output


def test_missing_pipeline_is_said(run, tmp_path):
    code, output = run(tmp_path)
    assert code == 1
    assert "neither an installed pipeline nor the folder of one" in " ".join(output.split())
