"""The pictures that are learned from: sign language digits, and a part of Fashion-MNIST."""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy
from PIL import Image

# Of Fashion-MNIST, whose test set would take most of the time.
ENOUGH_TO_TEST = 1000
ENOUGH_FOR_A_POOL = 2000


@dataclass(frozen=True)
class LabelledPicture:
    """What a file of a picture contains, and its label."""

    data: bytes
    label: str


@dataclass(frozen=True)
class PictureTask:
    """Pictures to learn from, in no order, and pictures to be examined on."""

    name: str
    pool: Sequence[LabelledPicture]
    test: Sequence[LabelledPicture]

    @property
    def labels(self) -> list[str]:
        """All labels."""
        return sorted({picture.label for picture in self.test})


def read_signs(folder: Path) -> PictureTask:
    """Photographs of ten digits in sign language, 100 x 100 pixels; 480 and 120 of them."""
    parts: dict[str, list[LabelledPicture]] = {"train": [], "test": []}
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(".jpg"):
                part, label, _ = name.split("/")
                parts[part].append(LabelledPicture(archive.read(name), label))
    return PictureTask("sign digits", _shuffle(parts["train"]), _shuffle(parts["test"]))


def read_fashion(folder: Path) -> PictureTask:
    """Ten kinds of clothes, 28 x 28 pixels, grey."""
    pool, test = (_read_idx(folder, part) for part in ("train", "test"))
    return PictureTask(
        "Fashion-MNIST", _shuffle(pool)[:ENOUGH_FOR_A_POOL], _shuffle(test)[:ENOUGH_TO_TEST]
    )


def _read_idx(folder: Path, part: str) -> list[LabelledPicture]:
    pixels = _read_bytes(folder / f"{part}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = _read_bytes(folder / f"{part}-labels-idx1-ubyte.gz", header=8)
    return [
        LabelledPicture(_as_png(picture), str(label))
        for picture, label in zip(pixels, labels, strict=True)
    ]


def _read_bytes(file: Path, *, header: int) -> numpy.ndarray:
    with gzip.open(file) as opened:
        return numpy.frombuffer(opened.read(), dtype=numpy.uint8, offset=header)


def _as_png(pixels: numpy.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _shuffle(pictures: list[LabelledPicture]) -> list[LabelledPicture]:
    random.Random(0).shuffle(pictures)
    return pictures
