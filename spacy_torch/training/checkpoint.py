"""The directory of a checkpoint: written whole or not at all, and read whole or not at all.

A checkpoint is written beside the last one and renamed when it is on disk; the last one stays
as the previous one. Whenever a run is killed, at least one of the two is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spacy.util import logger

from spacy_torch.bridge.atomic import replacing, sync_directory
from spacy_torch.bridge.weights import verify_weights
from spacy_torch.training.linked_copy import copy_linked

FORMAT = 1
NAME, PREVIOUS, UNFINISHED = "checkpoint", "checkpoint.previous", "checkpoint.unfinished"
DAMAGED, EARLIER = "checkpoint.damaged", "checkpoint.earlier"
# Beside the checkpoint of a run that has ended.
FINISHED = "finished.json"
FACTS, MODELS, OPTIMIZER, BEST = "checkpoint.json", "models", "optimizer", "model-best"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on with; the message says what differs and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read of a checkpoint.

    Attributes:
        facts: everything but the tensors, see `RunState.write`.
        path: the directory; None where another process read it.
        files: the contents of the tensors' files, where another process read them.
    """

    facts: Mapping[str, Any]
    path: Path | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def step(self) -> int:
        """The step that is to be made next."""
        return int(self.facts["step"])

    def use_files(self, read: Callable[[Path, Path], None]) -> None:
        """Call a function with the files of the models and of the optimizer."""
        if self.path is not None:
            read(*_tensor_files(self.path))
            return
        with tempfile.TemporaryDirectory(prefix="spacy-torch-") as name:
            directory = Path(name)
            for file, content in self.files.items():
                (directory / file).write_bytes(content)
            read(*_tensor_files(directory))

    def to_send(self) -> Checkpoint:
        """The checkpoint with its files in memory, for processes that do not see the disk."""
        if self.path is None:
            return self
        files = {file.name: file.read_bytes() for file in _tensor_files(self.path)}
        return Checkpoint(self.facts, None, files)


def write_checkpoint(
    output: Path,
    facts: Mapping[str, Any],
    *,
    write_models: Callable[[Path], str],
    write_optimizer: Callable[[Path], str],
) -> None:
    """Write a checkpoint into the output directory of a run, with a link to its best pipeline.

    Args:
        facts: JSON.
        write_models: writes a file and returns the digest of its contents.
        write_optimizer: as well.

    Raises:
        OSError: it cannot be written; the last one is as it was.
        TypeError: the facts are no JSON.
    """
    unfinished = output / UNFINISHED
    if unfinished.exists():  # of a run that was killed here
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    models, optimizer = _tensor_files(unfinished)
    try:
        digests = {models.name: write_models(models), optimizer.name: write_optimizer(optimizer)}
        best = output / BEST
        if best.is_dir():
            copy_linked(best, unfinished / BEST)
            _sync(unfinished / BEST, known=output / NAME / BEST)
        _write_facts(unfinished / FACTS, {**facts, "format": FORMAT, "digests": digests})
        sync_directory(unfinished)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)  # it may fill the disk
        raise
    _put_first(output)


def read_checkpoint(output: Path) -> Checkpoint | None:
    """The newest whole checkpoint in the output directory of a run; None if there was none.

    A damaged one is set aside, until the next one is written, and the previous one is used. Both
    is logged.

    Raises:
        CheckpointError: there are checkpoints and none of them is whole.
    """
    problems: list[str] = []
    for name in (NAME, PREVIOUS):
        path = output / name
        if not path.exists():
            continue
        try:
            found = Checkpoint(_read_facts(path), path)
            for file in _tensor_files(path):
                if verify_weights(file) != found.facts["digests"].get(file.name):
                    raise CheckpointError(f"{file} was written for another checkpoint")
        except (OSError, ValueError) as error:
            problems.append(f"{path} ({error})")
            continue
        if problems:
            logger.warning(
                "The last checkpoint is damaged, the previous one is used instead, of step %d: %s",
                found.step,
                problems[0],
            )
            damaged = output / DAMAGED
            if damaged.exists():
                shutil.rmtree(damaged)
            (output / NAME).rename(damaged)
        elif name == PREVIOUS:
            logger.warning(
                "The last checkpoint was not finished when the run ended, the previous one is "
                "used, of step %d",
                found.step,
            )
        return found
    if problems:
        raise CheckpointError(
            f"no checkpoint in {output} is whole: {'; '.join(problems)}. Start anew, without "
            "--resume"
        )
    return None


def set_checkpoint_aside(output: Path) -> Path | None:
    """Move the checkpoint of an earlier run out of the way of a new one, and say so.

    That the earlier one has ended is no longer true of the directory, either.

    Returns:
        Where it is now; None if there was none.
    """
    (output / FINISHED).unlink(missing_ok=True)
    found = next((output / name for name in (NAME, PREVIOUS) if (output / name).exists()), None)
    if found is None:
        return None
    aside = output / EARLIER
    if aside.exists():
        shutil.rmtree(aside)
    found.rename(aside)
    for name in (PREVIOUS, UNFINISHED):
        shutil.rmtree(output / name, ignore_errors=True)
    logger.warning(
        "%s has the checkpoint of an earlier run, which --resume would have gone on with. It is "
        "kept as %s until the next run starts anew; rename it to go on with it",
        output,
        aside,
    )
    return aside


def _tensor_files(directory: Path) -> tuple[Path, Path]:
    return directory / f"{MODELS}.safetensors", directory / f"{OPTIMIZER}.safetensors"


def _put_first(output: Path) -> None:
    newest, previous, unfinished = (output / name for name in (NAME, PREVIOUS, UNFINISHED))
    if newest.exists():
        if previous.exists():
            shutil.rmtree(previous)
        newest.rename(previous)
    unfinished.rename(newest)
    sync_directory(output)
    # Only while there is no good one after it might it be of use to somebody.
    shutil.rmtree(output / DAMAGED, ignore_errors=True)


def _sync(directory: Path, *, known: Path) -> None:
    """Have files on disk that spaCy has written, unless they are those of the last checkpoint."""
    for file in directory.rglob("*"):
        before = known / file.relative_to(directory)
        if not file.is_file() or (before.exists() and before.samefile(file)):
            continue
        # Windows syncs only what may be written; elsewhere that need not be.
        with open(file, "rb" if os.name == "posix" else "r+b") as opened:
            os.fsync(opened.fileno())


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts)
    content = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "facts": text}
    with replacing(path) as file:
        file.write(json.dumps(content).encode())


def _read_facts(path: Path) -> dict[str, Any]:
    file = path / FACTS
    content = json.loads(file.read_text(encoding="utf8"))
    if not isinstance(content, dict) or not isinstance(content.get("facts"), str):
        raise CheckpointError(f"{file} is no checkpoint")
    if hashlib.sha256(content["facts"].encode()).hexdigest() != content.get("sha256"):
        raise CheckpointError(f"{file} is damaged: its digest is that of other contents")
    facts = json.loads(content["facts"])
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} has format {facts.get('format')!r}, this version of spacy-torch reads {FORMAT}"
        )
    return facts
