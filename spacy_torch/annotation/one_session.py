"""A dataset is written by one session at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_dataset(dataset: Path) -> Iterator[None]:
    """Keep other sessions from a dataset meanwhile, by a lock on a file beside it.

    Two sessions would each ask what the other has asked already, and the one that starts could
    cut off the line that the other is about to write. The lock ends with the process, even one
    that is killed; the file (`answers.jsonl.lock`) stays and does no harm.

    Raises:
        RuntimeError: another session holds it.
    """
    # Importing it changes what a fork does. It is there, as torch requires it.
    from filelock import FileLock, Timeout

    dataset.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{dataset}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(
            f"another session is writing to {dataset}: end that one first, or give this one "
            "another dataset"
        ) from error
    try:
        yield
    finally:
        lock.release()
