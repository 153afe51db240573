import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli._util import app
from spacy.cli.train import train
from typer.testing import CliRunner

from spacy_torch.training.keep_best import keep_best
from spacy_torch.training.labelled_text import LabelledText, write_labelled_text
from spacy_torch.training.saved_score import saved_score


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
    (path / "ner").mkdir(parents=True)
    (path / "meta.json").write_text("{}")
    (path / "ner" / "weights").write_text(content)


def content(path: Path) -> str:
    return (path / "ner" / "weights").read_text()


def killed_run(config: Path, output: Path) -> None:
    """Train, and be killed by force as soon as spaCy has cleaned the directory."""
    code = """
import os, sys
from spacy.cli._util import app
from spacy.cli.train import train
from typer.testing import CliRunner
from spacy.training import loop
clean = loop.clean_output_dir
def clean_and_die(path):
    clean(path)
    os._exit(9)
loop.clean_output_dir = clean_and_die
train(*sys.argv[1:])
"""
    command = [sys.executable, "-c", code, str(config), str(output)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 9


@pytest.mark.slow
def test_best_pipeline_survives_a_second_run_that_is_killed_at_its_start(config, output):
    train(config, output)
    text = "a b"
    expected = spacy.load(output / "model-best")(text).cats
    killed_run(config, output)
    assert not (output / "model-best").exists()  # what spaCy did
    assert spacy.load(output / "model-best.1")(text).cats == expected
    train(config, output)
    assert spacy.load(output / "model-best.1")(text).cats == expected


@pytest.mark.slow
def test_commands_that_only_initialize_leave_the_best_pipeline_where_it_is(config, output):
    make_best(output / "model-best", "good")
    arguments = ["init", "labels", str(config), str(output.parent / "labels")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert content(output / "model-best") == "good"


def test_good_pipeline_survives_three_runs_killed_after_their_first_evaluation(tmp_path):
    make_best(tmp_path / "model-best", "good")
    for run in range(3):
        keep_best(tmp_path)
        shutil.rmtree(tmp_path / "model-best")  # as spaCy does
        make_best(tmp_path / "model-best", f"worse {run}")
    kept = {path.name: content(path) for path in tmp_path.iterdir()}
    assert kept == {
        "model-best": "worse 2",
        "model-best.1": "worse 1",
        "model-best.2": "worse 0",
        "model-best.3": "good",
    }


def test_good_pipeline_survives_any_number_of_runs_killed_at_their_start(tmp_path):
    make_best(tmp_path / "model-best", "good")
    for _ in range(5):
        keep_best(tmp_path)
        shutil.rmtree(tmp_path / "model-best", ignore_errors=True)
    assert {path.name: content(path) for path in tmp_path.iterdir()} == {"model-best.1": "good"}


def test_first_run_has_nothing_to_keep(tmp_path):
    assert keep_best(tmp_path / "not there") is None
    assert keep_best(tmp_path) is None


@pytest.mark.parametrize("links", [True, False])
def test_best_is_copied_once_and_told(tmp_path, monkeypatch, caplog, links):
    def refuse(source, target):
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    caplog.set_level("INFO")
    make_best(tmp_path / "model-best", "good")
    for _ in range(2):
        assert keep_best(tmp_path) == tmp_path / "model-best.1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-best", "model-best.1"]
    weights = tmp_path / "model-best" / "ner" / "weights"
    assert weights.samefile(tmp_path / "model-best.1" / "ner" / "weights") is links
    first, second = caplog.messages
    assert first.startswith("Kept the best pipeline of the last run: ")
    assert second.startswith("The best pipeline of the last run is kept already: ")


def test_best_that_differs_in_one_file_is_kept_as_well(tmp_path):
    make_best(tmp_path / "model-best", "new")
    make_best(tmp_path / "model-best.1", "old")
    keep_best(tmp_path)
    assert content(tmp_path / "model-best.1") == "new"
    assert content(tmp_path / "model-best.2") == "old"


def test_fourth_copy_is_dropped_only_when_the_new_one_is_in_place(tmp_path, monkeypatch):
    make_best(tmp_path / "model-best", "new")
    for number in range(1, 4):
        make_best(tmp_path / f"model-best.{number}", str(number))
    dropped, rename = [], Path.rename

    def drop(path):
        assert content(tmp_path / "model-best.1") == "new"
        dropped.append(content(path))
        rename(path, tmp_path / "dropped")

    monkeypatch.setattr(shutil, "rmtree", drop)
    keep_best(tmp_path)
    assert dropped == ["3"]


def test_pipeline_with_the_highest_score_is_not_driven_out(tmp_path):
    nlp = spacy.blank("en")
    nlp.config["training"]["score_weights"] = {"tag_acc": 1.0, "speed": None}
    scores = [0.5, 0.75, 0.125, 0.25, 0.125, 0.375]
    for number, score in enumerate(scores):
        nlp.meta["name"] = f"run {number}"
        nlp.meta["performance"] = {"tag_acc": score, "speed": 9.0}
        nlp.to_disk(tmp_path / "model-best")
        keep_best(tmp_path)
        shutil.rmtree(tmp_path / "model-best")
    kept = sorted(tmp_path.iterdir())
    assert [path.name for path in kept] == ["model-best.1", "model-best.2", "model-best.3"]
    assert [saved_score(path) for path in kept] == [0.375, 0.125, 0.75]


@pytest.mark.parametrize("n_renames", range(4))
def test_run_killed_while_it_keeps_the_best_loses_nothing(tmp_path, monkeypatch, n_renames):
    make_best(tmp_path / "model-best", "new")
    for number in range(1, 4):
        make_best(tmp_path / f"model-best.{number}", str(number))
    rename = Path.rename
    left = iter(range(n_renames))

    def rename_or_die(path, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename_or_die)
        with pytest.raises(KeyboardInterrupt):
            keep_best(tmp_path)
    assert {"new", "1", "2", "3"} <= {content(path) for path in tmp_path.iterdir()}
    keep_best(tmp_path)
    kept = {path.name: content(path) for path in tmp_path.iterdir()}
    expected = {"model-best": "new", "model-best.1": "new"}
    assert kept == expected | {"model-best.2": "1", "model-best.3": "2"}


def test_best_that_cannot_be_copied_stops_the_run_and_loses_nothing(tmp_path, monkeypatch):
    make_best(tmp_path / "model-best", "new")
    make_best(tmp_path / "model-best.1", "old")

    def refuse(path, target, copy_function):
        raise PermissionError("in use")

    monkeypatch.setattr(shutil, "copytree", refuse)
    with pytest.raises(OSError, match="cannot be copied to .*in use.*training would delete it"):
        keep_best(tmp_path)
    assert content(tmp_path / "model-best") == "new"
    assert content(tmp_path / "model-best.1") == "old"
