"""Boxes in a picture, kept with the Doc and read as `doc._.boxes`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spacy.tokens import Doc

EXTENSION = "boxes"
# What stands in `doc.user_data` is plain, so that spaCy can store it and read it anywhere.
_KEY = "spacy_torch.boxes"


class Box(NamedTuple):
    """An object in a picture, as `doc._.boxes` gives it; immutable.

    Attributes:
        label: the kind of object.
        x: pixels of the upright original from its left edge to that of the box.
        y: from its upper edge to that of the box.
        width: more than 0.
        height: more than 0.
        score: its probability; 1.0 in a gold annotation.
    """

    label: str
    x: float
    y: float
    width: float
    height: float
    score: float = 1.0

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height


def register_boxes() -> None:
    """Make `doc._.boxes` available, as a tuple of `Box` that can be assigned anew.

    Components, readers and scorers of boxes call this themselves; whoever only loads documents
    that have boxes calls it once. To call it again changes nothing. The boxes are saved with
    the Doc wherever `doc.user_data` is.

    Raises:
        ValueError: someone else has registered an extension of this name.
    """
    if Doc.has_extension(EXTENSION):
        if Doc.get_extension(EXTENSION)[2] is not get_boxes:
            raise ValueError(
                f"doc._.{EXTENSION} is an extension of someone else's: remove it with "
                f"Doc.remove_extension({EXTENSION!r}) before making a component, reader or "
                "scorer of boxes"
            )
        return
    Doc.set_extension(EXTENSION, getter=get_boxes, setter=set_boxes)


def set_boxes(
    doc: Doc,
    boxes: Iterable[Sequence[Any]],
    *,
    rejected: Iterable[Sequence[Any]] = (),
    complete: bool = True,
) -> None:
    """Replace the boxes of a document.

    Args:
        boxes: each a `Box`, or what it consists of in any sequence; the score may be left out.
        rejected: boxes of which it is known that they do not hold an object of their label.
        complete: everything that is in none of the boxes is background. If false, only `boxes`
            and `rejected` are known.

    Raises:
        TypeError: a box does not consist of a label and four or five numbers.
        ValueError: it has no label, no area, or a score that is no probability.
    """
    doc.user_data[_KEY] = {
        "boxes": [_to_row(box) for box in boxes],
        "rejected": [_to_row(box) for box in rejected],
        "complete": bool(complete),
    }


def get_boxes(doc: Doc) -> tuple[Box, ...]:
    """The boxes of a document; none if nobody has set any."""
    return _read(doc, "boxes")


def get_rejected(doc: Doc) -> tuple[Box, ...]:
    """The boxes of which it is known that they do not hold an object of their label."""
    return _read(doc, "rejected")


def has_boxes(doc: Doc) -> bool:
    """Whether boxes were set, be it none at all: otherwise nothing is known of them."""
    return _KEY in doc.user_data


def is_complete(doc: Doc) -> bool:
    """Whether boxes were set and what is in none of them is known to be background."""
    return has_boxes(doc) and doc.user_data[_KEY]["complete"]


def clip_box(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box that is within a picture of this width and height; None if nothing is."""
    left, top, right, bottom = box.corners
    x, y = max(left, 0.0), max(top, 0.0)
    width, height = min(right, size[0]) - x, min(bottom, size[1]) - y
    if width <= 0 or height <= 0:
        return None
    return Box(box.label, x, y, width, height, box.score)


def _read(doc: Doc, kind: str) -> tuple[Box, ...]:
    return tuple(Box(*row) for row in doc.user_data[_KEY][kind]) if has_boxes(doc) else ()


def _to_row(box: Sequence[Any]) -> tuple[Any, ...]:
    try:
        label, *numbers = box
        # Numbers of numpy and torch, in which models compute, are not plain.
        row = Box(label, *map(float, numbers))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"a box must be Box(label, x, y, width, height, score), got {box!r}"
        ) from error
    if not isinstance(label, str) or not label:
        raise ValueError(f"the label of a box must be text that is not empty, got {row!r}")
    if not all(map(math.isfinite, row[1:])):
        raise ValueError(f"the numbers of a box must be finite, got {row!r}")
    if row.width <= 0 or row.height <= 0:
        raise ValueError(f"the width and height of a box must be > 0, got {row!r}")
    if not 0.0 <= row.score <= 1.0:
        raise ValueError(f"the score of a box must be from 0 to 1, got {row!r}")
    return tuple(row)
