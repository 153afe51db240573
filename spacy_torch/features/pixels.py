"""Pictures as squares of pixels, and the way back from the square to the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc

from spacy_torch.features.decoding import import_pillow
from spacy_torch.features.image_docs import get_picture

# Around a picture that is no square; between black and white, so that it is near the mean.
PADDING = 127


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in a square: in the middle, as large as fits, its shape kept.

    Attributes:
        width: of the original picture, in pixels.
        height: of the original picture.
        size: the side of the square.
    """

    width: int
    height: int
    size: int

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.size) < 1:
            raise ValueError(f"width, height and size must be >= 1, got {self!r}")

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the picture in the square: whole pixels, one at least."""
        ratio = self.size / max(self.width, self.height)
        return max(1, round(self.width * ratio)), max(1, round(self.height * ratio))

    @property
    def offset(self) -> tuple[int, int]:
        """The pixels to the left of the picture and above it."""
        width, height = self.inner
        return (self.size - width) // 2, (self.size - height) // 2

    def to_square(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the original (n, 4) as x, y, width, height; in pixels of the square."""
        scale, shift = self._scale_and_shift()
        return boxes * scale + shift

    def to_original(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the square (n, 4) as x, y, width, height; in pixels of the original.

        They are not clipped: a box that covers the padding leaves the picture.
        """
        scale, shift = self._scale_and_shift()
        return (boxes - shift) / scale

    def _scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        # Each side by itself: whole pixels make their ratios differ a little.
        scale = np.array(self.inner) / (self.width, self.height)
        return np.tile(scale, 2), np.array([*self.offset, 0, 0], dtype=float)


def read_pixels(docs: Sequence[Doc], *, size: int) -> tuple[np.ndarray, list[Letterbox]]:
    """Decode the pictures of documents.

    Args:
        docs: each with a picture.
        size: the side of the squares, in pixels.

    Returns:
        uint8 (batch, 3, size, size), red, green and blue, and where each picture lies in its
        square. No documents give an array without rows.

    Raises:
        OSError: a file cannot be read.
        ValueError: a document has no picture, or one that cannot be decoded.
    """
    if size < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    pixels = np.full((len(docs), size, size, 3), PADDING, dtype=np.uint8)
    places = [_draw(doc, square) for doc, square in zip(docs, pixels, strict=True)]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), places


def _draw(doc: Doc, square: np.ndarray) -> Letterbox:
    """Write the picture of a document into a square (size, size, 3)."""
    size = len(square)
    image, (full_width, full_height) = get_picture(doc).open_small(at_least=size)
    place = Letterbox(full_width, full_height, size)
    (width, height), (x, y) = place.inner, place.offset
    if image.size != (width, height):
        # Antialiased, by way of a quick reduction to twice the size.
        image = image.resize((width, height), import_pillow().Resampling.BILINEAR, reducing_gap=2.0)
    square[y : y + height, x : x + width] = np.asarray(image)
    return place
