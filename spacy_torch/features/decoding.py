"""Image files and images in memory, as upright RGB images of Pillow."""

from __future__ import annotations

import math
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow knows more formats; some of them run other programs or have long been unsafe to read.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",  # what many phones call a JPEG
    "GIF",
    "BMP",
    "WEBP",
    "TIFF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "HEIF",
)
# The same limit from which Pillow warns: a picture that takes a quarter of a GB as RGB.
MAX_PIXELS = 89_478_485

_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_LENGTH = 256, 257
_LONGEST_SEARCH = 1 << 26  # bytes
_TRANSPOSED = {  # by the Exif 2.32 specification: what makes the picture upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def import_pillow() -> ModuleType:
    """The module `PIL.Image`.

    Raises:
        ImportError: Pillow is not installed; the message says how to install it.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "images are read with Pillow, which is not installed: "
            'python -m pip install "spacy-torch[images]"'
        ) from error
    return Image


def read_upright(
    source: str | bytes, *, name: str, max_pixels: int, at_least: int | None = None
) -> tuple[Image, tuple[int, int]]:
    """The first image of a file as upright RGB, and the width and height that it has in full.

    What is transparent becomes white.

    Args:
        source: a path, or what a file contains.
        name: of the image, for errors.
        max_pixels: more are not decoded.
        at_least: a JPEG may be decoded to a smaller image, as long as its longer side has
            this many pixels: it takes a fraction of the time.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
        ValueError: it is no image, is damaged or cut off, or has too many pixels.
    """
    with _open(source, name=name, max_pixels=max_pixels) as image:
        full_size = image.size
        try:
            if at_least is not None:
                ratio = min(1.0, at_least / max(full_size))
                image.draft(
                    "RGB", (math.ceil(full_size[0] * ratio), math.ceil(full_size[1] * ratio))
                )
            upright = to_upright_rgb(image)
        except Exception as error:  # Pillow's decoders raise whatever damaged data leads to
            raise ValueError(
                f"{name}: the image is damaged or cut off ({error}): replace the file"
            ) from error
        if upright.size in (full_size, full_size[::-1]):
            return upright, upright.size
        return upright, _turn(full_size, _orientation(image))


def read_size(source: str | bytes, *, name: str, max_pixels: int) -> tuple[int, int]:
    """Width and height of the upright image, from the beginning of the file alone.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
        ValueError: it is no image, or has too many pixels.
    """
    with _open(source, name=name, max_pixels=max_pixels) as image:
        size = image.size
        if image.format == "TIFF":  # which some versions of Pillow turn by themselves
            size = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_LENGTH]
        return _turn(size, _orientation(image))


def to_upright_rgb(image: Image) -> Image:
    """An image as its EXIF data say it should be seen, RGB, on white where it is transparent.

    Greys of 16 bits keep their most significant 8. Greys that are floats or have 32 bits know
    no white: their least value becomes black, their greatest white.
    """
    pillow = import_pillow()
    image.load()
    orientation = _orientation(image)
    if image.mode.startswith(("I", "F")):
        image = pillow.fromarray(_to_8_bits(np.asarray(image)))
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, (255, 255, 255, 255))
        image = pillow.alpha_composite(white, image)
    image = image.convert("RGB")
    if orientation in _TRANSPOSED:
        image = image.transpose(pillow.Transpose[_TRANSPOSED[orientation]])
    return image


def encode_png(image: Image) -> bytes:
    """An image as the content of a PNG file, upright RGB."""
    buffer = BytesIO()
    to_upright_rgb(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _open(source: str | bytes, *, name: str, max_pixels: int) -> Any:
    pillow = import_pillow()
    pillow.init()
    file: Any = BytesIO(source) if isinstance(source, bytes) else source
    try:
        image = pillow.open(file, formats=[format for format in FORMATS if format in pillow.OPEN])
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise type(error)(
            f"{name}: there is no image that can be read: {error.strerror}"
        ) from error
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ValueError(
            f"{name}: {error}. It is not read; if it can be trusted, raise "
            "PIL.Image.MAX_IMAGE_PIXELS and max_pixels"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{name}: this is not an image of a known format ({', '.join(FORMATS)}), or its "
            f"beginning is damaged: {error}"
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise ValueError(
            f"{name}: the image has {width} x {height} pixels, more than the {max_pixels:,} that "
            "are read: make it smaller, cut it up, or raise max_pixels"
        )
    return image


def _orientation(image: Any) -> int:
    if image.format == "PNG" and not _may_have_exif(image):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF data say nothing, and the pixels are still there
        return 1


def _may_have_exif(image: Any) -> bool:
    """Whether a PNG file may hold EXIF data; to look them up, Pillow would decode its pixels."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:  # decoded already
        return True
    place = file.tell()
    file.seek(0)
    content = file.read(_LONGEST_SEARCH)
    file.seek(place)
    is_cut = len(content) == _LONGEST_SEARCH
    return is_cut or b"eXIf" in content or b"Raw profile type" in content


def _turn(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    if grey.dtype.kind in "iu" and grey.size and grey.min() >= 0 and grey.max() <= 0xFFFF:
        return (grey.astype(np.uint32) >> 8).astype(np.uint8)
    values = np.nan_to_num(grey.astype(np.float64))
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    return np.round((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
