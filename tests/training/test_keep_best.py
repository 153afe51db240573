import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli.train import train

from spacy_torch.training.keep_best import move_best_aside
from spacy_torch.training.labelled_text import LabelledText, write_labelled_text


@pytest.fixture
def output(tmp_path):
    return tmp_path / "training"


@pytest.fixture
def config(tmp_path, output):
    """A stock text classifier on six texts, set up to keep its best."""
    rows = [LabelledText(text, (text[0],)) for text in ("a b", "b a", "a a", "b b", "a c", "b c")]
    nlp = spacy.blank("en")
    write_labelled_text(rows, tmp_path / "corpus.spacy", nlp=nlp, names=["a", "b"])
    nlp.add_pipe("textcat")
    config = nlp.config.copy()
    corpus = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "corpus.spacy")}
    config["corpora"] = {"train": corpus, "dev": corpus}
    config["training"].update(max_steps=2, eval_frequency=1)
    config["initialize"]["before_init"] = {
        "@callbacks": "spacy-torch.KeepBest.v1",
        "path": str(output),
    }
    path = tmp_path / "config.cfg"
    config.to_disk(path)
    return path


def make_best(path: Path, content: str) -> None:
    path.mkdir(parents=True)
    (path / "weights").write_text(content)


def content(path: Path) -> str:
    return (path / "weights").read_text()


@pytest.mark.slow
def test_best_pipeline_survives_a_second_run_that_is_killed_at_its_start(config, output):
    train(config, output)
    text = "a b"
    expected = spacy.load(output / "model-best")(text).cats
    # Killed by force as soon as spaCy has cleaned the directory, before the first step.
    killed = """
import os, sys
from spacy.cli.train import train
from spacy.training import loop
clean = loop.clean_output_dir
def clean_and_die(path):
    clean(path)
    os._exit(9)
loop.clean_output_dir = clean_and_die
train(*sys.argv[1:])
"""
    command = [sys.executable, "-c", killed, str(config), str(output)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 9
    assert not (output / "model-best").exists()  # what spaCy did
    assert spacy.load(output / "model-best.previous")(text).cats == expected
    train(config, output)
    assert spacy.load(output / "model-best.previous")(text).cats == expected


def test_first_run_has_nothing_to_keep(tmp_path):
    assert move_best_aside(tmp_path / "not there") is None
    assert move_best_aside(tmp_path) is None


def test_newer_best_replaces_the_one_kept_before(tmp_path, caplog):
    make_best(tmp_path / "model-best.previous", "old")
    make_best(tmp_path / "model-best", "new")
    assert move_best_aside(tmp_path) == tmp_path / "model-best.previous"
    assert [path.name for path in tmp_path.iterdir()] == ["model-best.previous"]
    assert content(tmp_path / "model-best.previous") == "new"
    assert "Kept the best pipeline of the last run" in caplog.text


def test_remains_of_a_killed_run_are_cleaned_up(tmp_path):
    make_best(tmp_path / "model-best.older", "oldest")
    make_best(tmp_path / "model-best.previous", "old")
    make_best(tmp_path / "model-best", "new")
    move_best_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model-best.previous"]


def test_best_that_cannot_be_renamed_stops_the_run_and_loses_nothing(tmp_path, monkeypatch):
    make_best(tmp_path / "model-best.previous", "old")
    make_best(tmp_path / "model-best", "new")
    rename = Path.rename

    def refuse(path, target):
        if path.name == "model-best":
            raise PermissionError("in use")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="cannot be renamed to .*in use.*training would delete it"):
        move_best_aside(tmp_path)
    assert content(tmp_path / "model-best") == "new"
    assert content(tmp_path / "model-best.previous") == "old"
