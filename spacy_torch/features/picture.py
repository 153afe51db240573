"""A picture: a file, or the content of one, that is decoded only when someone looks at it."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from spacy_torch.features.decoding import (
    MAX_PIXELS,
    encode_png,
    import_pillow,
    read_size,
    read_upright,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DATA_URI = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """Where an image comes from: a path or bytes, never pixels.

    Attributes:
        path: of the file; None where the image is in memory.
        data: what the file would contain; None where there is a path.
        max_pixels: an image with more is refused rather than decoded.
    """

    path: str | None = None
    data: bytes | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if (self.path is None) == (self.data is None):
            raise ValueError("a picture must have either a path or data: use Picture.from_source")
        if not self.path and not self.data:
            raise ValueError("a picture must not be empty: give a path, or the bytes of a file")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be >= 1, got {self.max_pixels}")

    @classmethod
    def from_source(cls, source: Any, *, max_pixels: int = MAX_PIXELS) -> Picture:
        """A picture from whatever stands for an image; files are not opened yet.

        Args:
            source: a path (text or Path), a data URI, the bytes of a file, an image of Pillow,
                or an array of uint8 of the shape (height, width) or (height, width, 3 or 4).
            max_pixels: an image with more is refused when it is opened.

        Raises:
            TypeError: the source is something else.
            ValueError: it is empty, a URL, or a data URI without an image in Base64.
        """
        if isinstance(source, Picture):
            return source
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(data=bytes(source), max_pixels=max_pixels)
        if isinstance(source, str) and source[:5].lower() == "data:":
            return cls(data=_decode_uri(source), max_pixels=max_pixels)
        if isinstance(source, (str, os.PathLike)):
            path = os.fspath(source)
            if isinstance(path, str):
                check_no_url(path)
                return cls(path=path, max_pixels=max_pixels)
        if isinstance(source, np.ndarray):
            return cls(data=_encode_array(source), max_pixels=max_pixels)
        if _is_pillow_image(source):
            return cls(data=encode_png(source), max_pixels=max_pixels)
        raise TypeError(
            "an image must be a path, the bytes of a file, a data URI, an image of Pillow or an "
            f"array, got {type(source).__name__}"
        )

    @property
    def name(self) -> str:
        """The path, or what stands for it where the image is in memory."""
        return self.path if self.path is not None else f"image-{self.key}"

    @property
    def key(self) -> str:
        """A digest of the file's content, 32 hexadecimal digits; equal files have equal keys.

        Raises:
            OSError: the file cannot be read.
        """
        if self.data is not None:
            return _digest(self.data)
        assert self.path is not None
        try:
            state = os.stat(self.path)
            return _digest_file(self.path, state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise type(error)(
                f"{self.path}: the picture cannot be read: {error.strerror}"
            ) from error

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no image.
        """
        return read_size(self._source, name=self.name, max_pixels=self.max_pixels)

    def open(self) -> Image:
        """The decoded image: RGB, upright, white where it was transparent.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no image, is damaged or cut off, or has too many pixels.
        """
        return read_upright(self._source, name=self.name, max_pixels=self.max_pixels)[0]

    def open_small(self, *, at_least: int) -> tuple[Image, tuple[int, int]]:
        """The image, of which the longer side may have less pixels, and its full size.

        It is then not smaller than `at_least`, and takes a fraction of the time to decode.
        """
        return read_upright(
            self._source, name=self.name, max_pixels=self.max_pixels, at_least=at_least
        )

    def read_bytes(self) -> bytes:
        """What the file contains.

        Raises:
            OSError: the file cannot be read.
        """
        if self.data is not None:
            return self.data
        assert self.path is not None
        with open(self.path, "rb") as file:
            return file.read()

    @property
    def _source(self) -> str | bytes:
        source = self.path if self.data is None else self.data
        assert source is not None
        return source


def check_no_url(path: str) -> None:
    """Refuse what names a place in a network.

    Raises:
        ValueError: the path is a URL.
    """
    if _URL.match(path):
        raise ValueError(
            f"{path}: nothing is fetched from a URL; download the image and give its path, or "
            "its bytes"
        )


def _decode_uri(uri: str) -> bytes:
    header = _DATA_URI.match(uri)
    shown = uri[:40] + "..." * (len(uri) > 40)
    if header is None:
        raise ValueError(
            f"a data URI must look like data:image/png;base64,iVBORw0..., got {shown!r}"
        )
    try:
        data = base64.b64decode(uri[header.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the data URI {shown!r} is not valid Base64: {error}") from error
    if not data:
        raise ValueError(f"the data URI {shown!r} has no data")
    return data


def _encode_array(array: np.ndarray) -> bytes:
    channels = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in ((), (3,), (4,)):
        raise TypeError(
            "an array must be uint8 of the shape (height, width), (height, width, 3) or "
            f"(height, width, 4), got {array.dtype} of {array.shape}"
        )
    if not array.size:
        raise ValueError(f"an image must have pixels, got an array of the shape {array.shape}")
    return encode_png(import_pillow().fromarray(np.ascontiguousarray(array)))


def _is_pillow_image(source: Any) -> TypeGuard[Image]:
    # Whoever has such an image has imported this module.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


@lru_cache(maxsize=100_000)
def _digest_file(path: str, modified: int, size: int) -> str:
    """The digest of a file, kept until the file changes."""
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
