"""Paths of pictures that someone else wrote down: inside one folder, or refused."""

from __future__ import annotations

import os

from spacy_torch.features.picture import check_no_url


def resolve_path(path: str, *, root: str | None, allow_outside: bool = False) -> str:
    """The path of a picture that is given from a folder on.

    Args:
        path: relative to the folder, or absolute.
        root: the folder; None for the working directory, and then any path is allowed.
        allow_outside: the picture may lie elsewhere.

    Raises:
        ValueError: the path is empty, has a zero byte, is a URL, or leads out of the folder,
            be it by way of a symbolic link.
    """
    check_no_url(path)
    if not path or "\0" in path:
        raise ValueError(f"the path of a picture must not be empty or have a zero byte: {path!r}")
    if root is None:
        return path
    found = os.path.join(root, path)
    if not allow_outside:
        inside = os.path.realpath(root)
        target = os.path.realpath(found)
        if os.path.splitdrive(inside)[0] != os.path.splitdrive(target)[0] or (
            os.path.commonpath([inside, target]) != inside
        ):
            raise ValueError(
                f"{path}: this leads out of the folder {root}, in which pictures are looked for; "
                "name another folder, or set allow_outside = true if that is intended"
            )
    return found
