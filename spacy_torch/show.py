"""A picture of what a Doc says of its picture: boxes and classes with their scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spacy.tokens import Doc

from spacy_torch.features.boxes import Box, get_boxes
from spacy_torch.features.decoding import import_pillow
from spacy_torch.features.image_docs import get_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Color = tuple[int, int, int]
# Okabe and Ito (2008): eight colours, without black, that people with all kinds of colour
# vision can tell apart.
PALETTE: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# The longer side of what is drawn has at least so many pixels, and at most so many.
SMALLEST, LARGEST = 720, 2400
# With more boxes, only their scores are written beside them; the legend has their labels.
MOST_LABELS = 10
MOST_CLASSES = 5
_BLACK, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (120, 120, 120)


def show_doc(doc: Doc, *, threshold: float = 0.0, font: Path | None = None) -> Image:
    """The picture of a Doc with its boxes, and below it a legend and the likeliest classes.

    Args:
        threshold: boxes with a lower score are not drawn.
        font: a TrueType file; Pillow's own has only Latin letters.

    Raises:
        OSError: the picture or the font cannot be read.
        ValueError: the Doc has no picture, or one that cannot be decoded.
    """
    boxes = [box for box in get_boxes(doc) if box.score >= threshold]
    return draw(get_picture(doc).open(), boxes=boxes, cats=doc.cats, font=font)


def draw(
    image: Image,
    *,
    boxes: Sequence[Box],
    cats: Mapping[str, float],
    font: Path | None = None,
) -> Image:
    """A copy of an image with boxes, and a strip below with what they and the classes are.

    Each line has a dark and a light rim, so that it is seen on any ground. Small images are
    enlarged, and huge ones reduced.

    Args:
        boxes: in pixels of the image.
        cats: classes and their probabilities.
        font: a TrueType file.
    """
    pillow = import_pillow()
    from PIL import ImageDraw

    scale = _find_scale(max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = pillow.Resampling.NEAREST if scale >= 4 else pillow.Resampling.LANCZOS
    image = image.convert("RGB").resize(size, method)
    style = _Style.of(max(size), font=font)
    colors = _pick_colors(boxes)
    canvas = ImageDraw.Draw(image)
    for box in boxes:
        _draw_box(canvas, _corners(box, scale), colors[box.label], style)
    is_gold = all(box.score == 1.0 for box in boxes)  # then to say so tells nothing
    # The most probable last, above the others.
    for box in sorted(boxes, key=lambda box: box.score):
        label = "" if len(boxes) > MOST_LABELS else box.label
        score = "" if is_gold else f"{box.score:.2f}"
        if text := f"{label} {score}".strip():
            _draw_tag(canvas, text, _corners(box, scale), size, colors[box.label], style)
    return _add_strip(image, _legend(boxes, colors), _best(cats), style)


class _Style(NamedTuple):
    line: int
    margin: int
    font: Any

    @classmethod
    def of(cls, side: int, *, font: Path | None) -> _Style:
        from PIL import ImageFont

        letters = side // 45
        loaded = ImageFont.truetype(str(font), letters) if font else ImageFont.load_default(letters)
        return cls(max(2, side // 400), max(4, side // 140), loaded)


class _Row(NamedTuple):
    """A line of the strip: a colour to show, or a share to show as a bar; and a text."""

    text: str
    color: Color
    share: float | None


def _find_scale(side: int) -> float:
    if side < SMALLEST:
        return math.ceil(SMALLEST / side)
    return min(1.0, LARGEST / side)


def _pick_colors(boxes: Sequence[Box]) -> dict[str, Color]:
    labels = sorted({box.label for box in boxes})
    return {label: PALETTE[place % len(PALETTE)] for place, label in enumerate(labels)}


def _corners(box: Box, scale: float) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(side * scale) for side in box.corners)
    return left, top, max(right - 1, left), max(bottom - 1, top)


def _draw_box(
    canvas: ImageDraw, corners: tuple[int, int, int, int], color: Color, style: _Style
) -> None:
    for rim, shade, width in ((-1, _BLACK, 1), (style.line, _WHITE, 1), (0, color, style.line)):
        left, top, right, bottom = corners
        outline = (left + rim, top + rim, right - rim, bottom - rim)
        if outline[0] <= outline[2] and outline[1] <= outline[3]:
            canvas.rectangle(outline, outline=shade, width=width)


def _draw_tag(
    canvas: ImageDraw,
    text: str,
    corners: tuple[int, int, int, int],
    size: tuple[int, int],
    color: Color,
    style: _Style,
) -> None:
    """A plate with the text above a box; within it where there is no room above."""
    width, height = _text_size(canvas, text, style)
    width, height = width + 6, height + 6
    left = max(0, min(corners[0], size[0] - width))
    top = corners[1] - height if corners[1] >= height else min(corners[1], size[1] - height)
    plate = (left, top, left + width - 1, top + height - 1)
    canvas.rectangle(plate, fill=color, outline=_BLACK)
    canvas.text((left + 3, top + 3), text, fill=_contrast(color), font=style.font, anchor="lt")


def _legend(boxes: Sequence[Box], colors: Mapping[str, Color]) -> list[_Row]:
    counts = Counter(box.label for box in boxes)
    return [_Row(f"{label}: {counts[label]}", color, None) for label, color in colors.items()]


def _best(cats: Mapping[str, float]) -> list[_Row]:
    best = sorted(cats.items(), key=lambda item: -item[1])[:MOST_CLASSES]
    return [_Row(f"{label} {value:.2f}", PALETTE[4], value) for label, value in best]


def _add_strip(image: Image, legend: list[_Row], classes: list[_Row], style: _Style) -> Image:
    from PIL import ImageDraw

    pillow = import_pillow()
    _, height = _text_size(ImageDraw.Draw(image), "Äg", style)
    step = height + 2 * style.margin
    lines = _break(legend, image.width, step, style)
    rows = len(lines) + len(classes)
    if not rows:
        return image
    whole = pillow.new("RGB", (image.width, image.height + rows * step + style.margin), _WHITE)
    whole.paste(image)
    canvas = ImageDraw.Draw(whole)
    canvas.line((0, image.height, image.width, image.height), fill=_GREY)
    top = image.height + style.margin
    for line in lines:
        for row, left in line:
            box = (left, top + 2, left + height, top + 2 + height)
            canvas.rectangle(box, fill=row.color, outline=_BLACK)
            place = (left + height + style.margin, top + 2)
            canvas.text(place, row.text, fill=_BLACK, font=style.font, anchor="lt")
        top += step
    length = image.width // 3
    for row in classes:
        share = min(max(row.share or 0.0, 0.0), 1.0)
        bar = (style.margin, top + 2, style.margin + length, top + 2 + height)
        canvas.rectangle(bar, fill=_WHITE, outline=_GREY)
        filled = (bar[0], bar[1], bar[0] + round(length * share), bar[3])
        canvas.rectangle(filled, fill=row.color)
        place = (bar[2] + 2 * style.margin, top + 2)
        canvas.text(place, row.text, fill=_BLACK, font=style.font, anchor="lt")
        top += step
    return whole


def _break(
    legend: list[_Row], width: int, step: int, style: _Style
) -> list[list[tuple[_Row, int]]]:
    """The entries of the legend in lines, and where each begins."""
    lines: list[list[tuple[_Row, int]]] = []
    left = width
    for row in legend:
        needed = round(style.font.getlength(row.text)) + step + 2 * style.margin
        if left + needed > width:
            lines.append([])
            left = style.margin
        lines[-1].append((row, left))
        left += needed
    return lines


def _text_size(canvas: ImageDraw, text: str, style: _Style) -> tuple[int, int]:
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=style.font, anchor="lt")
    return math.ceil(right - left), math.ceil(bottom - top)


def _contrast(color: Color) -> Color:
    """Black or white, whichever is better read on a colour (ITU-R BT.601 luma)."""
    red, green, blue = color
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else _WHITE
