"""What `torch-train` goes on with and what it refuses; what a rerun leaves of the run before."""

import errno
import json
import math
import shutil

import numpy
import pytest
import spacy
from spacy.cli._util import app
from spacy.language import Language
from spacy.scorer import PRFScore
from spacy.tokens import DocBin
from spacy.util import load_config, registry
from thinc.compat import has_gpu
from tiny_training import OUR_TAGGER, contents, make_config, write_corpora
from typer.testing import CliRunner

from spacy_torch.bridge.model_state import save_models
from spacy_torch.distributed.world import NotTogetherError
from spacy_torch.training.checkpoint import CheckpointError, read_checkpoint, set_checkpoint_aside
from spacy_torch.training.pipeline_state import plain
from spacy_torch.training.train import OutputError, train

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


def last_step(output):
    found = read_checkpoint(output)
    assert found is not None
    return found.step


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


def test_last_digits_of_a_number_do_not_make_another_config(run, caplog):
    """An override is read by a parser that may give the neighbour of what stands in a file."""
    config, output = run
    for dropout in (math.nextafter(0.2, 1), 0.2):
        # Once to go on, once as the run that has ended.
        with caplog.at_level("WARNING", "spacy"):
            train(config, output, overrides={"training.dropout": dropout}, **RESUME)
    assert "has ended, there is nothing to go on with" in caplog.text


def test_wrong_setting_is_shown_with_the_name_that_the_user_gave(run, capsys):
    config, output = run
    before = contents(output)
    for wrong in ({"training.batcher.tolerance": "much"}, {"corpora.train.limit": "few"}):
        with pytest.raises(SystemExit):
            train(config, output, overrides=wrong)
        shown = capsys.readouterr().out
        function = "batch_by_words" if "training" in next(iter(wrong)) else "Corpus"
        assert f"Config error for 'spacy.{function}.v1'" in shown
        assert f"'spacy.{function}.v1'," in shown.partition("\n")[2]
    assert contents(output) == before  # nothing was set aside for a run that could not begin


@pytest.mark.parametrize("inside", ["", "sub"])
def test_output_that_cannot_be_written_is_said_before_the_training(run, inside, steps):
    config, output = run
    file = output.parent / "file"
    file.write_text("mine")
    registry.cli.get("torch-train")  # as python -m spacy does
    words = ["torch-train", str(config), "--output", str(file / inside)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "Cannot save there" in result.output
    assert steps.seen == []
    assert file.read_text() == "mine"
    with pytest.raises(OutputError, match="cannot be written into: .*Name another"):
        train(config, file / inside)


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
    monkeypatch.setattr("spacy_torch.training.run_state.position_of_data", lambda: -1)
    assert_is_refused(run, "has drawn other random numbers than before the checkpoint of step 4")


def test_run_that_ends_before_the_checkpoint_is_refused(run):
    assert_is_refused(
        run, "ended at step 2, before the step 4 of the checkpoint", **{"training.max_steps": 2}
    )


def test_other_components_are_refused(run, monkeypatch):
    monkeypatch.setattr("spacy_torch.training.run_state.trained_models", lambda nlp, frozen: {})
    assert_is_refused(run, "of the components torch_tagger, those that are trained now are ")


def test_missing_scores_are_refused(run, monkeypatch):
    read = read_checkpoint(run[1])
    assert read is not None
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
    assert last_step(output) == 12


def test_checkpoint_that_cannot_be_written_does_not_stop_the_training(run, monkeypatch, caplog):
    """A full disk has room again at the next one."""
    config, output = run
    full = [OSError(errno.ENOSPC, "No space left on device")]

    def write(models, file):
        file.write_text("half")
        if full:
            raise full.pop()
        return save_models(models, file)

    monkeypatch.setattr("spacy_torch.training.run_state.save_models", write)
    with caplog.at_level("WARNING", "spacy"):
        train(config, output, resume=True, steps=3)
    assert "checkpoint of step 6 could not be written ([Errno 28] No space left" in caplog.text
    assert not (output / "checkpoint.unfinished").exists()
    assert last_step(output) == 9


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


def give_score(output, score):
    """Let the best pipeline be another than the checkpoint's, with this score."""
    file = output / "model-best" / "meta.json"
    meta = json.loads(file.read_text())
    file.unlink()  # which may be a link to the checkpoint's
    meta["performance"]["tag_acc"] = score
    file.write_text(json.dumps(meta))
    return contents(output / "model-best")


def test_best_pipeline_after_the_checkpoint_survives_what_cannot_be_gone_on_with(run, tmp_path):
    config, output = run
    best = give_score(output, 2.0)
    with pytest.raises(CheckpointError, match="training data is not that of the checkpoint"):
        train(
            config,
            output,
            overrides={"corpora.train.path": str(config.parent / "dev.spacy")},
            **RESUME,
        )
    assert contents(output / "model-best") == best
    assert not (output / "model-best.interrupted").exists()


@pytest.mark.parametrize("next_is_resumed", [True, False])
def test_best_pipeline_after_the_checkpoint_survives_another_kill(run, steps, next_is_resumed):
    config, output = run
    best = give_score(output, 2.0)
    steps.add(2)  # while the steps before the checkpoint are gone through
    for _ in range(2):
        (output / "model-best.saving").unlink(missing_ok=True)
        with pytest.raises(Stopped):
            train(config, output, **RESUME)
    steps.clear()
    train(config, output, **{**RESUME, "resume": next_is_resumed})
    assert contents(output / ("model-best" if next_is_resumed else "model-best.1")) == best
    assert not (output / "model-best.interrupted").exists()


def test_better_pipeline_takes_the_place_of_one_after_the_checkpoint(run):
    config, output = run
    worse = give_score(output, -1.0)
    train(config, output, **RESUME)
    assert contents(output / "model-best") != worse
    assert sorted(path.name for path in output.glob("model-*")) == ["model-best", "model-last"]


def test_pipeline_that_was_being_saved_when_the_run_was_killed_is_not_trusted(run, steps):
    config, output = run
    kept = contents(output / "checkpoint" / "model-best")
    give_score(output, 2.0)
    (output / "model-best" / "tokenizer").unlink()
    (output / "model-best.saving").touch()
    steps.add(0)
    with pytest.raises(Stopped):
        train(config, output)
    assert contents(output / "model-best.1") == kept


def test_saving_is_noted_from_evaluation_to_logger(run, monkeypatch):
    config, output = run
    noted, to_disk = [], Language.to_disk

    def note(nlp, path, **settings):
        noted.append(saving.exists())
        return to_disk(nlp, path, **settings)

    saving = output.parent / "new" / "model-best.saving"
    monkeypatch.setattr(Language, "to_disk", note)
    train(config, output.parent / "new", overrides={"training.max_steps": 2})
    assert noted == [True, False]  # after the evaluation of step 0, and in the end
    assert not saving.exists()


def test_run_that_has_ended_is_not_held_against_a_later_one_of_plain_spacy_train(run):
    config, output = run
    train(config, output, **RESUME)
    assert (output / "finished.json").exists()
    set_checkpoint_aside(output)
    assert not (output / "finished.json").exists()


def test_scores_that_json_does_not_have_are_described():
    scores = {"a": {1}, ("x", 2): numpy.float32(0.5), "n": None, "l": [True, PRFScore]}
    found = plain(scores)
    assert found == {"a": "{1}", "('x', 2)": 0.5, "n": None, "l": [True, repr(PRFScore)]}
    assert json.loads(json.dumps(found)) == found


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


def test_command_says_from_where_it_goes_on(run, command):
    config, output = run
    result = command(config, "-o", output, "--training.max_steps", 7, "--resume")
    assert "Going on with step 4, where the last checkpoint" in " ".join(result.output.split())


def test_command_refuses_negative_intervals(run, command):
    for name in ("--checkpoint-steps", "--checkpoint-seconds"):
        result = command(run[0], name, -1)
        assert result.exit_code == 2
        assert f"Invalid value for '{name}'" in result.output


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_command_says_how_to_use_a_gpu_without_that_of_thinc(run, command):
    result = command(run[0], "--gpu-id", 0)
    assert result.exit_code == 1
    assert 'leave --gpu-id out, and set device = "auto"' in " ".join(result.output.split())


def test_command_says_that_the_others_are_not_found(run, command, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    result = command(run[0])
    assert result.exit_code == 1
    assert "Cannot train with other processes" in result.output
    assert "start the processes with torchrun" in " ".join(result.output.split())


def test_command_says_why_processes_cannot_train_together(run, command, monkeypatch):
    def refuse(*arguments, **settings):
        raise NotTogetherError("rank 1 is another")

    monkeypatch.setattr("spacy_torch.training.train.check_same_run", refuse)
    result = command(run[0])
    assert result.exit_code == 1
    assert "cannot train together" in result.output
    assert "rank 1 is another" in result.output
