"""The best pipeline of a run that was killed, which going on would delete or leave damaged.

spaCy's loop deletes it when it starts, although a run that goes on from a checkpoint will only
make it again later: until then it is kept beside. Nor does the loop save it in one piece.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from spacy.training.loop import DIR_MODEL_LAST

from spacy_torch.training.checkpoint import BEST, NAME, PREVIOUS, Checkpoint
from spacy_torch.training.keep_best import are_same
from spacy_torch.training.linked_copy import copy_linked
from spacy_torch.training.saved_score import saved_score

INTERRUPTED = "model-best.interrupted"
# A file that is there while spaCy may be saving.
SAVING = "model-best.saving"


def set_best_aside(output: Path, loaded: Checkpoint) -> None:
    """Move the best pipeline out of the way, unless it is the one that the checkpoint has."""
    best = output / BEST
    kept = None if loaded.path is None else loaded.path / BEST
    if best.is_dir() and not (kept is not None and kept.is_dir() and are_same(best, kept)):
        best.rename(output / INTERRUPTED)


def settle_best(output: Path) -> None:
    """Let `model-best` be the best pipeline that a run has left, ended or killed.

    That is the one that was set aside, if it has the higher score. If a run was killed while it
    saved, or while it went through the steps before its checkpoint, it is that of the checkpoint.
    """
    best, aside, saving = output / BEST, output / INTERRUPTED, output / SAVING
    is_whole = (best / "meta.json").exists() and not saving.exists()
    if aside.is_dir():
        if is_whole and saved_score(best) >= saved_score(aside):
            shutil.rmtree(aside)
        else:
            shutil.rmtree(best, ignore_errors=True)
            aside.rename(best)
            is_whole = True
    if best.is_dir() and not is_whole:
        kept = [output / name / BEST for name in (NAME, PREVIOUS)]
        found = next((path for path in kept if path.is_dir()), None)
        if found is not None or not (best / "meta.json").exists():
            shutil.rmtree(best)
        if found is not None:
            copy_linked(found, best)
    saving.unlink(missing_ok=True)


def put_best_back(output: Path, loaded: Checkpoint) -> None:
    """Let `model-best` be that of the checkpoint, after the steps before it were gone through."""
    if loaded.path is None:
        return
    for name in (BEST, DIR_MODEL_LAST):  # what the replay has left is empty
        shutil.rmtree(output / name, ignore_errors=True)
    if (loaded.path / BEST).is_dir():
        copy_linked(loaded.path / BEST, output / BEST)


class SavingNote:
    """Notes on the disk, from each evaluation until what spaCy may save after it is saved.

    Args:
        output: the directory of the run; None for a process that saves nothing.
    """

    def __init__(self, output: Path | None) -> None:
        self.output = output
        self._is_saving = False

    def set(self, is_saving: bool) -> None:
        """Note whether spaCy may be saving now."""
        if self.output is None or is_saving == self._is_saving:
            return
        self._is_saving = is_saving
        if is_saving:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / SAVING).touch()
        else:
            (self.output / SAVING).unlink(missing_ok=True)
