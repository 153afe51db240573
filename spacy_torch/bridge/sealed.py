"""A file that knows whether it is whole: its bytes behind their digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from spacy_torch.bridge.atomic import replacing
from spacy_torch.bridge.weights_header import WeightsError

MARK = b"spacy-torch sealed 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size


def write_sealed(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes and their digest to a file that is replaced as a whole or not at all."""
    with replacing(path) as file:
        file.write(MARK + hashlib.sha256(data).digest())
        file.write(data)


def read_sealed(path: str | os.PathLike[str]) -> bytes:
    """The bytes that `write_sealed` was given.

    Raises:
        WeightsError: they are not what was written.
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    start = len(MARK) + DIGEST_BYTES
    if not content.startswith(MARK):
        raise WeightsError(
            "damaged, or not saved by a component of this version of spacy-torch: it does not "
            f"begin with {MARK!r}. Restore the file from where it came from"
        )
    data = content[start:]
    if hashlib.sha256(data).digest() != content[len(MARK) : start]:
        raise WeightsError(
            f"damaged or cut short: the digest does not match the {len(data)} bytes behind it. "
            "Restore the file from where it came from"
        )
    return data
