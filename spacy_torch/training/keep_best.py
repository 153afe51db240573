"""Keeping the best pipelines of earlier runs when a new run starts."""

import filecmp
import shutil
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path

from spacy.language import Language
from spacy.training.loop import DIR_MODEL_BEST
from spacy.util import logger

from spacy_torch.training.linked_copy import copy_linked
from spacy_torch.training.saved_score import saved_score

N_KEPT = 3


class KeepBest:
    """Copies ``model-best`` before a new run can delete it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, nlp: Language) -> Language:
        """Do it, and hand the pipeline on unchanged."""
        keep_best(self.path)
        return nlp


def build_keep_best(path: str | Path) -> Callable[[Language], Language]:
    """Copies an earlier run's ``model-best`` to ``model-best.1``, and keeps three such copies.

    They are the latest ones, but for the one with the highest score, which is kept however old.

    For ``[initialize.before_init]``: ``spacy train`` deletes ``model-best`` when it starts, long
    before the new one is any good. ``path`` must be the directory given as ``--output``, which
    spaCy tells no callback; in any other there is nothing to keep.
    """
    return KeepBest(Path(path))  # a config hands over a string


def keep_best(path: Path) -> Path | None:
    """Copy ``model-best`` in a directory and return the copy; None where there is none.

    ``model-best`` stays, since commands that never delete it initialize a pipeline as well. The
    copies are ``model-best.1``, the newest, to ``model-best.3``; the oldest goes, unless it has
    the highest score. They are hard links where the file system has them and cost no space
    then. Nothing is copied that is kept already.

    Raises:
        OSError: It cannot be copied; stops the run that would delete it.
    """
    best = path / DIR_MODEL_BEST
    if not best.is_dir():
        return None
    newest = _numbered(best, 1)
    if newest.exists() and are_same(best, newest):
        logger.info("The best pipeline of the last run is kept already: %s is %s", best, newest)
        return newest
    copied = best.with_name(f"{DIR_MODEL_BEST}.unfinished")
    try:
        if copied.exists():  # left by a run that was killed here
            shutil.rmtree(copied)
        copy_linked(best, copied)
        _put_first(copied, best)
    except OSError as error:
        raise OSError(
            f"{best} holds the best pipeline of an earlier run and cannot be copied to {newest} "
            f"({error}); training would delete it. Make room there, or train into another "
            "directory"
        ) from error
    logger.info("Kept the best pipeline of the last run: %s is now also %s", best, newest)
    return newest


def _put_first(copied: Path, best: Path) -> None:
    """Make the copy number 1 and move the others up; the surplus goes when it is in place."""
    free = next(number for number in count(1) if not _numbered(best, number).exists())
    for number in range(free, 1, -1):
        _numbered(best, number - 1).rename(_numbered(best, number))
    copied.rename(_numbered(best, 1))
    while _numbered(best, N_KEPT + 1).exists():
        kept = list(takewhile(Path.exists, (_numbered(best, number) for number in count(1))))
        # Runs that were killed at once leave pipelines, too, which must not drive it out.
        finest = max(kept, key=saved_score)
        oldest = max(number for number, path in enumerate(kept, 1) if path != finest)
        shutil.rmtree(_numbered(best, oldest))
        for number in range(oldest, len(kept)):
            _numbered(best, number + 1).rename(_numbered(best, number))


def _numbered(best: Path, number: int) -> Path:
    return best.with_name(f"{best.name}.{number}")


def are_same(left: Path, right: Path) -> bool:
    """Whether two directories hold the same files."""
    files = _files(left)
    return files == _files(right) and all(
        (left / file).samefile(right / file)
        or filecmp.cmp(left / file, right / file, shallow=False)
        for file in files
    )


def _files(path: Path) -> set[Path]:
    return {file.relative_to(path) for file in path.rglob("*") if file.is_file()}
