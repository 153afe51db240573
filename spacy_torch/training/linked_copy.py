"""A copy of a directory that costs no space."""

import os
import shutil
from pathlib import Path


def copy_linked(source: Path, target: Path) -> None:
    """Copy a directory by hard links, or as it is where the file system has none.

    A file that is replaced afterwards, and not written over, stays as it was in the copy.
    """
    shutil.copytree(source, target, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # not on every file system
        return shutil.copy2(source, target)
    return target
