"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[BinaryIO, None, None]:
    """Write a file beside `path` and put it in its place when the block ends well.

    Whatever goes wrong before that (an exception in the block, a full disk, a kill)
    leaves the old file as it was; only a kill or a power cut leaves the hidden
    `.spacy-torch-*.tmp` file behind. A symbolic link is followed, not replaced.

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
        os.replace(beside, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"{os.strerror(error.errno)} (nothing was replaced), while writing"
            raise OSError(error.errno, reason, str(target)) from error
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    # The new name survives a power cut only once its directory is on disk. Windows
    # cannot open a directory and some network disks cannot sync one: the file is
    # complete and in place by now, so that is no reason to fail.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
