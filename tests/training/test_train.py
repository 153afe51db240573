"""What `torch-train` goes on with and what it refuses; what a rerun leaves of the run before."""

import errno
import shutil

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin
from spacy.util import load_config, registry
from tiny_training import OUR_TAGGER, contents, make_config, write_corpora
from typer.testing import CliRunner

from spacy_torch.bridge.model_state import save_models
from spacy_torch.training.checkpoint import CheckpointError, read_checkpoint
from spacy_torch.training.train import train

RESUME = {"resume": True, "steps": 4}


class Stopped(BaseException):
    """As a kill, an exception that nobody catches."""


class Steps(set):
    """The steps at which the callback "test.stop_at" stops a run; `seen` has all of them."""

    def __init__(self):
        self.seen = []

    def __call__(self, nlp, at):
        self.seen.append(at["step"])
        if at["step"] in self:
            raise Stopped


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, seed_of_module):
    """A directory with a config and with the run `out` of it, stopped in step 6."""
    path = tmp_path_factory.mktemp("stopped")
    write_corpora(path)
    stop = {"@callbacks": "test.stop_at"}
    config = make_config(path, {"torch_tagger": {"model": OUR_TAGGER}}, before_update=stop)
    steps = Steps()
    registry.callbacks.register("test.stop_at", func=lambda: steps)
    steps.add(6)
    with pytest.raises(Stopped):
        train(config, path / "out", steps=4)
    return path


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of it, as (config, output)."""
    shutil.copytree(stopped / "out", tmp_path / "out", copy_function=shutil.copy)
    return stopped / "config.cfg", tmp_path / "out"


@pytest.fixture(autouse=True)
def steps():
    steps = Steps()
    registry.callbacks.register("test.stop_at", func=lambda: steps)
    return steps


def assert_is_refused(run, match, **overrides):
    config, output = run
    best = contents(output / "model-best")
    checkpoint = contents(output / "checkpoint")
    with pytest.raises(CheckpointError, match=match):
        train(config, output, overrides=overrides, **RESUME)
    assert contents(output / "model-best") == best
    assert contents(output / "checkpoint") == checkpoint


def test_checkpoint_of_another_config_is_refused_by_the_name_of_the_setting(run):
    assert_is_refused(
        run,
        r"another config: training.dropout was 0.2, is 0.3; training.optimizer.L2 was .*"
        "start anew without --resume",
        **{"training.dropout": 0.3, "training.optimizer.L2": 0.5},
    )


def test_default_that_was_given_another_value_since_is_refused(run, monkeypatch):
    config, output = run
    changed = load_config(config)
    del changed["training"]["accumulate_gradient"]
    changed.to_disk(output.parent / "changed.cfg")
    assert_is_refused(
        (output.parent / "changed.cfg", output), 'accumulate_gradient was 1, is "nothing"'
    )


def test_checkpoint_of_another_corpus_is_refused(run, tmp_path):
    docs = list(DocBin().from_disk(run[0].parent / "train.spacy").get_docs(spacy.blank("en").vocab))
    docs[7].cats = {"A": 0.5}
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "train.spacy")
    assert_is_refused(
        run,
        r"examples of \[corpora.train\], or their order, differ in the batches \d to \d",
        **{"corpora.train.path": str(tmp_path / "train.spacy")},
    )


def test_corpus_may_have_moved(run, tmp_path):
    shutil.copy(run[0].parent / "train.spacy", tmp_path / "moved.spacy")
    moved = {"corpora.train.path": str(tmp_path / "moved.spacy")}
    train(*run, overrides=moved, **RESUME)
    assert (run[1] / "finished.json").exists()


def test_checkpoint_of_another_version_is_refused(run, monkeypatch):
    name = "spacy_torch.training.config_match.version"
    monkeypatch.setattr(name, lambda package: "2.0+cpu" if package == "torch" else "1.0")
    assert_is_refused(run, r"other versions: spacy was .*, is 1.0; .*torch was .*, is 2.0")


def test_reader_that_draws_from_elsewhere_is_noticed(run, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_torch.training.resumable.position_of_data", lambda: -1)
    assert_is_refused(run, "has drawn other random numbers than before the checkpoint of step 4")


def test_run_that_ends_before_the_checkpoint_is_refused(run):
    assert_is_refused(
        run, "ended at step 2, before the step 4 of the checkpoint", **{"training.max_steps": 2}
    )


def test_other_components_are_refused(run, monkeypatch):
    monkeypatch.setattr("spacy_torch.training.resumable.trained_models", lambda nlp, frozen: {})
    assert_is_refused(run, "of the components torch_tagger, those that are trained now are ")


def test_missing_scores_are_refused(run, monkeypatch):
    read = read_checkpoint(run[1])
    read.facts["evaluations"].clear()
    monkeypatch.setattr("spacy_torch.training.train.read_checkpoint", lambda output: read)
    assert_is_refused(run, "has no scores of step 0")


def test_steps_before_the_checkpoint_are_not_trained(run, steps, capsys):
    train(*run, **RESUME)
    assert steps.seen == [*range(12)]
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "  " in line]
    assert [row[1] for row in rows if row[0].isdigit()] == ["6", "9"]


def test_training_on_for_more_steps_goes_on_from_the_checkpoint(run):
    config, output = run
    train(config, output, **RESUME)
    train(config, output, overrides={"training.max_steps": 14}, **RESUME)
    assert read_checkpoint(output).step == 12


def test_checkpoint_that_cannot_be_written_does_not_stop_the_training(run, monkeypatch, caplog):
    """A full disk has room again at the next one."""
    config, output = run
    full = [OSError(errno.ENOSPC, "No space left on device")]

    def write(models, file):
        file.write_text("half")
        if full:
            raise full.pop()
        return save_models(models, file)

    monkeypatch.setattr("spacy_torch.training.resumable.save_models", write)
    with caplog.at_level("WARNING", "spacy"):
        train(config, output, resume=True, steps=3)
    assert "checkpoint of step 6 could not be written ([Errno 28] No space left" in caplog.text
    assert not (output / "checkpoint.unfinished").exists()
    assert read_checkpoint(output).step == 9


def test_nothing_to_go_on_with_is_said(run, caplog):
    config, output = run
    with caplog.at_level("WARNING", "spacy"):
        train(config, output.parent / "new", overrides={"training.max_steps": 1}, **RESUME)
    assert "new has no checkpoint: the training starts anew" in caplog.text
    before = contents(output.parent / "new")
    with caplog.at_level("WARNING", "spacy"):
        train(config, output.parent / "new", overrides={"training.max_steps": 1}, **RESUME)
    assert "new has ended, there is nothing to go on with" in caplog.text
    assert contents(output.parent / "new") == before


def test_rerun_keeps_the_best_pipeline_and_the_checkpoint(run, steps):
    config, output = run
    best, checkpoint = contents(output / "model-best"), contents(output / "checkpoint")
    steps.add(0)
    with pytest.raises(Stopped):
        train(config, output)
    assert contents(output / "model-best.1") == best
    assert contents(output / "checkpoint.earlier") == checkpoint


def test_best_pipeline_survives_a_kill_in_the_replay_and_a_rerun(run, steps):
    """The replay leaves empty directories; a kill leaves them there."""
    config, output = run
    best = contents(output / "model-best")
    shutil.rmtree(output / "model-best")
    (output / "model-best").mkdir()
    steps.add(0)
    with pytest.raises(Stopped):
        train(config, output)
    assert contents(output / "model-best.1") == best


def test_empty_directory_is_not_kept_as_a_best_pipeline(run, steps):
    config, output = run
    for name in ("checkpoint", "model-best"):
        shutil.rmtree(output / name)
    (output / "model-best").mkdir()
    steps.add(0)
    with pytest.raises(Stopped):
        train(config, output)
    assert not (output / "model-best.1").exists()


def test_saved_config_is_the_users_own(run):
    config, output = run
    train(config, output, **RESUME)
    saved = load_config(output / "model-best" / "config.cfg")["training"]
    assert saved["batcher"]["@batchers"] == "spacy.batch_by_words.v1"
    assert saved["before_update"] == {"@callbacks": "test.stop_at"}
    assert saved["before_to_disk"] is None


@pytest.fixture
def command():
    registry.cli.get("torch-train")  # as python -m spacy does

    def call(*arguments):
        return CliRunner().invoke(app, ["torch-train", *map(str, arguments)])

    return call


def test_command_takes_what_spacy_train_takes(run, command):
    config, output = run
    result = command(config, "-o", output, "--training.max_steps", 7, "--resume", "--verbose")
    assert result.exit_code == 0, result.output
    assert "Saved pipeline to output directory" in result.output


def test_command_shows_what_cannot_be_gone_on_with(run, command):
    config, output = run
    result = command(config, "-o", output, "--training.dropout", 0.3, "--resume")
    assert result.exit_code == 1
    assert "training.dropout was 0.2, is 0.3" in " ".join(result.output.split())


def test_command_resumes_only_with_a_directory(run, command):
    result = command(run[0], "--resume")
    assert result.exit_code == 1
    assert "--resume needs the --output directory" in result.output
