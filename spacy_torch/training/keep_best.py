"""Keeping the best pipeline of the last run when a new run starts."""

import shutil
from collections.abc import Callable
from pathlib import Path

from spacy.language import Language
from spacy.training.loop import DIR_MODEL_BEST
from spacy.util import logger


class KeepBest:
    """Moves ``model-best`` aside before a new run can delete it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, nlp: Language) -> Language:
        """Do it, and hand the pipeline on unchanged."""
        move_best_aside(self.path)
        return nlp


def build_keep_best(path: str | Path) -> Callable[[Language], Language]:
    """Moves an earlier run's ``model-best`` to ``model-best.previous``.

    For ``[initialize.before_init]``, with the output directory of the run as ``path``: ``spacy
    train`` deletes ``model-best`` when it starts, long before the new one is any good.
    """
    return KeepBest(Path(path))  # a config hands over a string


def move_best_aside(path: Path) -> Path | None:
    """Rename ``model-best`` in a directory and return where it is now; None where there is none.

    The one kept before is dropped last, so at no moment is there none.

    Raises:
        OSError: It cannot be renamed; stops the run that would delete it.
    """
    best = path / DIR_MODEL_BEST
    if not best.exists():
        return None
    previous = path / f"{DIR_MODEL_BEST}.previous"
    older = path / f"{DIR_MODEL_BEST}.older"
    if previous.exists():
        if older.exists():  # left by a run that was killed between the renames below
            shutil.rmtree(older)
        previous.rename(older)
    try:
        best.rename(previous)
    except OSError as error:
        if older.exists():
            older.rename(previous)
        raise OSError(
            f"{best} holds the best pipeline of an earlier run and cannot be renamed to "
            f"{previous} ({error}); training would delete it. Close what is using it, or train "
            f"into another directory"
        ) from error
    if older.exists():
        shutil.rmtree(older)
    logger.warning("Kept the best pipeline of the last run: %s is now %s", best, previous)
    return previous
