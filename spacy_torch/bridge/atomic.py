"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, NamedTuple


class _Written(NamedTuple):
    beside: Path
    target: Path


_waiting: ContextVar[list[_Written] | None] = ContextVar("waiting", default=None)


@contextlib.contextmanager
def replacing_together() -> Generator[None, None, None]:
    """Put all files that `replacing` writes inside in their places when the block ends well.

    A failure before that leaves all old files as they were. What remains is a failure, or a
    crash, between two of the renames at the end: the files then come from two saves.

    Raises:
        OSError: as `replacing` does; it says whether some files were replaced.
    """
    written: list[_Written] = []
    token = _waiting.set(written)
    try:
        yield
    except BaseException:
        _remove(written)
        raise
    finally:
        _waiting.reset(token)
    _put_in_place(written)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[BinaryIO, None, None]:
    """Write a file beside `path` and put it in its place when the block ends well.

    Inside `replacing_together` it is put there at the end of that block. Whatever goes
    wrong before (an exception in the block, a full disk, a kill) leaves the old file as it
    was; only a kill or a power cut leaves the hidden `.spacy-torch-*.tmp` file behind. A
    symbolic link is followed, not replaced.

    Raises:
        OSError: With the `errno` of the failed call and the name of the file that
            was to be written, which is not the name of the hidden one.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".spacy-torch-{uuid.uuid4().hex}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        _remove([_Written(beside, target)])
        if isinstance(error, OSError) and error.errno is not None:
            raise _explained(error, target, n_replaced=0) from error
        raise
    waiting = _waiting.get()
    if waiting is None:
        _put_in_place([_Written(beside, target)])
    else:
        waiting.append(_Written(beside, target))


def _put_in_place(written: list[_Written]) -> None:
    for n_replaced, (beside, target) in enumerate(written):
        try:
            os.replace(beside, target)
        except BaseException as error:
            _remove(written[n_replaced:])
            if isinstance(error, OSError) and error.errno is not None:
                raise _explained(error, target, n_replaced=n_replaced) from error
            raise
    for directory in dict.fromkeys(target.parent for _, target in written):
        sync_directory(directory)


def _remove(written: list[_Written]) -> None:
    for beside, _ in written:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _explained(error: OSError, target: Path, *, n_replaced: int) -> OSError:
    outcome = "nothing was replaced"
    if n_replaced:
        outcome = f"{n_replaced} other files were replaced already, so save again before loading"
    reason = f"{os.strerror(error.errno or 0)} ({outcome}), while writing"
    return OSError(error.errno, reason, str(target))


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk, where it can be done."""
    # The new name survives a power cut only once its directory is on disk. Windows
    # cannot open a directory and some network disks cannot sync one: the file is
    # complete and in place by now, so that is no reason to fail.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
