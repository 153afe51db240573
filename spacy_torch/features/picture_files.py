"""Pictures as files: their names, formats and contents."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from spacy_torch.features.picture import Picture

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
    + (".jp2", ".avif", ".heic")
)


def file_name(name: str, content: bytes) -> str:
    """The last part of a picture's name, with the suffix of its format if it has none."""
    base = os.path.basename(name)
    return base if Path(base).suffix.lower() in SUFFIXES else f"{base}.{image_format(content)}"


def image_format(content: bytes) -> str:
    """The format of a file by how it begins, as in image/png; png where it is another one."""
    marks = {b"\xff\xd8": "jpeg", b"GIF8": "gif", b"BM": "bmp", b"II*\0": "tiff", b"MM\0*": "tiff"}
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((name for mark, name in marks.items() if content.startswith(mark)), "png")


def to_uri(picture: Picture) -> str:
    """A picture as a data URI."""
    content = picture.read_bytes()
    encoded = base64.b64encode(content).decode("ascii")
    return f"data:image/{image_format(content)};base64,{encoded}"
