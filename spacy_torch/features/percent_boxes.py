"""Boxes in percent of their picture, as Label Studio has them."""

from __future__ import annotations

import math

from spacy_torch.features.boxes import Box


def to_percent(box: Box, size: tuple[int, int]) -> dict[str, float]:
    """Where a box is, in percent of the width and height of its picture."""
    width, height = size
    return {
        "x": box.x / width * 100,
        "y": box.y / height * 100,
        "width": box.width / width * 100,
        "height": box.height / height * 100,
        "rotation": 0,
    }


def from_percent(
    label: str,
    sides: tuple[float, float, float, float],
    size: tuple[int, int],
    *,
    rotation: float = 0.0,
    score: float = 1.0,
) -> Box:
    """The upright box around a rectangle in percent.

    Args:
        sides: x and y of its upper left corner, its width and its height.
        rotation: degrees by which it is turned clockwise about that corner, in pixels.
    """
    x, y, width, height = (
        side / 100 * length for side, length in zip(sides, (*size, *size), strict=True)
    )
    if rotation:
        x, y, width, height = _surround(x, y, width, height, math.radians(rotation))
    return Box(label, x, y, width, height, score)


def _surround(
    x: float, y: float, width: float, height: float, angle: float
) -> tuple[float, float, float, float]:
    """The upright box around one that is turned clockwise about its upper left corner."""
    cos, sin = math.cos(angle), math.sin(angle)
    xs = (0.0, width * cos, -height * sin, width * cos - height * sin)
    ys = (0.0, width * sin, height * cos, width * sin + height * cos)
    return x + min(xs), y + min(ys), max(xs) - min(xs), max(ys) - min(ys)
