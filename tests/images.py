"""Images for tests, made where they are needed."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy
from PIL import Image

# The corners of an upright picture of 6 x 4 pixels: red, green, blue and white, a quarter each.
CORNERS = numpy.zeros((4, 6, 3), dtype=numpy.uint8)
CORNERS[:2, :3] = (255, 0, 0)
CORNERS[:2, 3:] = (0, 255, 0)
CORNERS[2:, :3] = (0, 0, 255)
CORNERS[2:, 3:] = (255, 255, 255)


def as_bytes(array: numpy.ndarray, format: str = "PNG", **options) -> bytes:
    return save(Image.fromarray(array), format, **options)


def save(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def write_image(path: Path, array: numpy.ndarray = CORNERS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(array))
    return path


def random_pixels(height: int, width: int, *, seed: int = 0) -> numpy.ndarray:
    generator = numpy.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)


def as_uri(array: numpy.ndarray) -> str:
    """As a text that stands for the picture."""
    return f"data:image/png;base64,{b64encode(as_bytes(array)).decode()}"


def draw_patterns(
    *places: tuple[str, int, int], seed: int, side: int = 16, size: int = 64
) -> numpy.ndarray:
    """Framed squares with stripes across or down, given label, left and top, on a noisy ground."""
    pixels = numpy.random.default_rng(seed).integers(90, 110, (size, size, 3), dtype=numpy.uint8)
    stripes = numpy.broadcast_to(
        (numpy.arange(side) // 3 % 2 * 255).astype(numpy.uint8), (side, side)
    )
    for label, x, y in places:
        pattern = stripes.T.copy() if label == "across" else stripes.copy()
        pattern[:2], pattern[-2:], pattern[:, :2], pattern[:, -2:] = 0, 0, 0, 0
        pixels[y : y + side, x : x + side] = pattern[:, :, None]
    return pixels
