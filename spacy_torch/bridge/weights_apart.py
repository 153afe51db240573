"""The mark that stands in Thinc's message for weights in a file beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

# In front of the digest of that file's contents.
_APART = b"apart "
_are_apart: ContextVar[bool] = ContextVar("weights_apart", default=False)


@contextlib.contextmanager
def weights_apart() -> Generator[None, None, None]:
    """While open, shims leave their weights out of the bytes they give to Thinc."""
    token = _are_apart.set(True)
    try:
        yield
    finally:
        _are_apart.reset(token)


def are_weights_apart() -> bool:
    """Whether `weights_apart` is open."""
    return _are_apart.get()


def write_mark(digest: str | None) -> bytes:
    """The mark for a file of this digest, or for one that was not written yet."""
    return _APART + (digest or "").encode()


def is_mark(data: Any) -> bool:
    """Whether a shim gave a mark and no weights."""
    return isinstance(data, bytes) and data.startswith(_APART)


def read_mark(mark: bytes) -> str | None:
    """The digest in a mark."""
    return mark[len(_APART) :].decode() or None
