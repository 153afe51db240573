"""A checkpoint is there whole or not at all, whatever happens while it is written."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from spacy_torch.bridge.weights import load_weights, save_weights
from spacy_torch.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    set_checkpoint_aside,
    write_checkpoint,
)

OPERATIONS = [
    (os, "fsync"),
    (os, "replace"),
    (os, "link"),
    (Path, "rename"),
    (Path, "mkdir"),
    (shutil, "rmtree"),
]


class Killed(BaseException):
    """As a kill, an exception that nobody catches."""


def write(output, step):
    """A checkpoint of a model and an optimizer that hold the step."""

    def write_step(path, name):
        return save_weights({"x": torch.tensor([step])}, path, name=name, sizes={}, info={})

    write_checkpoint(
        output,
        {"step": step},
        write_models=partial(write_step, name="models"),
        write_optimizer=partial(write_step, name="optimizer"),
    )


def read_steps(checkpoint):
    """What the two files hold."""
    steps = []

    def read(*files):
        for file in files:
            tensor = torch.tensor([-1])
            load_weights(file, {"x": tensor})
            steps.append(tensor.item())

    checkpoint.use_files(read)
    return steps


def write_best(output, content):
    (output / "model-best").mkdir(parents=True, exist_ok=True)
    (output / "model-best" / "meta.json").unlink(missing_ok=True)
    (output / "model-best" / "meta.json").write_text(content)


def test_last_checkpoint_is_read(tmp_path):
    for step in (3, 6, 9):
        write(tmp_path, step)
    found = read_checkpoint(tmp_path)
    assert (found.step, read_steps(found)) == (9, [9, 9])


def test_checkpoint_that_was_sent_has_its_files(tmp_path):
    write(tmp_path, 3)
    sent = read_checkpoint(tmp_path).to_send()
    assert sent.path is None
    assert sent.to_send() is sent
    shutil.rmtree(tmp_path / "checkpoint")
    assert read_steps(sent) == [3, 3]


def test_best_pipeline_is_kept_as_it_was(tmp_path):
    write_best(tmp_path, "good")
    write(tmp_path, 3)
    kept = tmp_path / "checkpoint" / "model-best" / "meta.json"
    assert kept.samefile(tmp_path / "model-best" / "meta.json")
    write_best(tmp_path, "better")
    assert kept.read_text() == "good"


def test_wherever_writing_is_killed_a_whole_checkpoint_is_left(tmp_path, monkeypatch):
    """The writing is cut at its first operation on the disk, at its second, and so on."""
    found = []
    n_left = 0

    def counted(real):
        def cut(*args, **kwargs):
            nonlocal n_left
            n_left -= 1
            if n_left < 0:
                raise Killed
            return real(*args, **kwargs)

        return cut

    for n_operations in range(60):
        output = tmp_path / str(n_operations)
        for step in (3, 6):
            write_best(output, str(step))
            write(output, step)
        write_best(output, "9")
        n_left = n_operations
        with monkeypatch.context() as patch:
            for owner, name in OPERATIONS:
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                write(output, 9)
                is_whole = True
            except Killed:
                is_whole = False
        checkpoint = read_checkpoint(output)
        best = checkpoint.path / "model-best" / "meta.json"
        assert read_steps(checkpoint) == [checkpoint.step] * 2
        assert best.read_text() == str(checkpoint.step)
        found.append(checkpoint.step)
        if is_whole:
            break
    assert is_whole
    assert found == sorted(found)
    assert {6, 9} == set(found)
    assert len(found) > 10


def test_run_goes_on_writing_after_it_was_killed_while_it_wrote(tmp_path):
    write(tmp_path, 3)
    (tmp_path / "checkpoint.unfinished").mkdir()
    (tmp_path / "checkpoint.unfinished" / "models.safetensors").write_text("half")
    write(tmp_path, 6)
    assert read_checkpoint(tmp_path).step == 6
    assert not (tmp_path / "checkpoint.unfinished").exists()


DAMAGES = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "empty": lambda file: file.write_bytes(b""),
    "changed": lambda file: file.write_bytes(file.read_bytes().replace(b"\x06\0", b"\x07\0")),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("name", ["checkpoint.json", "models.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_previous_checkpoint_is_used_for_a_damaged_one_and_that_is_said(
    name, damage, tmp_path, caplog
):
    for step in (3, 6):
        write(tmp_path, step)
    file = tmp_path / "checkpoint" / name
    before = file.read_bytes()
    if name == "checkpoint.json" and damage == "changed":
        file.write_bytes(before.replace(b"6", b"7"))
    else:
        DAMAGES[damage](file)
    assert not file.exists() or file.read_bytes() != before
    with caplog.at_level("WARNING", "spacy"):
        found = read_checkpoint(tmp_path)
    assert (found.step, read_steps(found)) == (3, [3, 3])
    assert "the previous one is used instead, of step 3" in caplog.text
    write(tmp_path, 9)  # which must not take the damaged one for the previous one
    shutil.rmtree(tmp_path / "checkpoint")
    assert read_checkpoint(tmp_path).step == 3


def test_one_damaged_checkpoint_is_kept_until_the_next_one_is_written(tmp_path):
    write(tmp_path, 3)
    for step in (6, 9):  # damaged twice, without a good one in between
        (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.previous")
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "checkpoint.json").write_text(f"damaged {step}")
        assert read_checkpoint(tmp_path).step == 3
        (tmp_path / "checkpoint.previous").rename(tmp_path / "checkpoint")
    kept = tmp_path / "checkpoint.damaged" / "checkpoint.json"
    assert kept.read_text() == "damaged 9"
    write(tmp_path, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "checkpoint.previous"]


def test_previous_checkpoint_is_used_where_the_last_was_not_renamed_yet(tmp_path, caplog):
    for step in (3, 6):
        write(tmp_path, step)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.unfinished")
    with caplog.at_level("WARNING", "spacy"):
        assert read_checkpoint(tmp_path).step == 3
    assert "was not finished when the run ended, the previous one is used, of step 3" in caplog.text


def test_file_of_another_checkpoint_is_noticed(tmp_path):
    for step in (3, 6):
        write(tmp_path, step)
    name = "optimizer.safetensors"
    shutil.copy(tmp_path / "checkpoint.previous" / name, tmp_path / "checkpoint" / name)
    assert read_checkpoint(tmp_path).step == 3


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert read_checkpoint(tmp_path / "nowhere") is None


def test_damage_of_all_is_an_error(tmp_path):
    write(tmp_path, 3)
    (tmp_path / "checkpoint" / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*Start anew"):
        read_checkpoint(tmp_path)


def test_format_of_a_later_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_torch.training.checkpoint.FORMAT", 2)
    write(tmp_path, 3)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 2, this version of spacy-torch reads 1"):
        read_checkpoint(tmp_path)


def test_facts_must_be_json(tmp_path):
    nothing = partial(save_weights, {}, name="", sizes={}, info={})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_checkpoint(
            tmp_path, {"step": object()}, write_models=nothing, write_optimizer=nothing
        )


def test_checkpoint_set_aside_is_whole_and_one_is_kept(tmp_path, caplog):
    assert set_checkpoint_aside(tmp_path) is None
    for step in (3, 6):
        write(tmp_path, step)
        with caplog.at_level("WARNING", "spacy"):
            aside = set_checkpoint_aside(tmp_path)
        assert read_checkpoint(tmp_path) is None
    assert f"It is kept as {aside}" in caplog.text
    aside.rename(tmp_path / "checkpoint")
    assert read_checkpoint(tmp_path).step == 6


def test_facts_are_readable_json(tmp_path):
    write(tmp_path, 3)
    content = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    assert json.loads(content["facts"])["step"] == 3
    assert Checkpoint({"step": 3}).step == 3
