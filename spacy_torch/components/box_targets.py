"""What the references of a batch say of the boxes in its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor

from spacy_torch.components.skipped import Skip
from spacy_torch.features.boxes import Box, clip_box, get_boxes, get_rejected, is_complete
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.pixels import Letterbox

# Boxes with a side of less than this many pixels, as the model reads them, show nothing.
SMALLEST = 2.0


@dataclass(frozen=True)
class PictureBoxes:
    """What is known of the boxes of one picture.

    Attributes:
        keys: one for each box, different in all pictures; int64.
        boxes: left, top, right and bottom in pixels of the square that the model reads.
        labels: columns of the component's labels.
        verdicts: whether a box holds an object of its label, 1 or 0.
        is_complete: there are no objects but those of the accepted boxes.
    """

    keys: Tensor
    boxes: Tensor
    labels: Tensor
    verdicts: Tensor
    is_complete: bool

    def to(self, device: torch.device) -> PictureBoxes:
        """The same on another device."""
        return PictureBoxes(
            self.keys.to(device),
            self.boxes.to(device),
            self.labels.to(device),
            self.verdicts.to(device),
            self.is_complete,
        )


def read_truth(
    examples: Sequence[Example], labels: tuple[str, ...], *, size: int, skip: Skip
) -> list[PictureBoxes]:
    """What each reference says of the picture of its predicted Doc.

    Args:
        labels: the component's.
        size: the side of the square that the model reads.
        skip: counts what cannot be learned.
    """
    columns = {label: column for column, label in enumerate(labels)}
    return [_read_one(eg.predicted, eg.reference, columns, size=size, skip=skip) for eg in examples]


def _read_one(
    doc: Doc, reference: Doc, columns: dict[str, int], *, size: int, skip: Skip
) -> PictureBoxes:
    picture = get_picture(doc)
    place = Letterbox(*picture.size, size)
    keys: list[int] = []
    rows: list[tuple[float, float, float, float]] = []
    found: list[int] = []
    verdicts: list[int] = []
    complete = is_complete(reference)
    given = [
        *((box, 1) for box in get_boxes(reference)),
        *((box, 0) for box in get_rejected(reference)),
    ]
    for box, verdict in given:
        if box.label not in columns:
            step = f"call add_label({box.label!r}) first"
            skip("boxes of unknown labels", 1, value=box.label, step=step)
            continue
        inside = clip_box(box, picture.size)
        square = (
            None
            if inside is None
            else place.to_square(numpy.array([[inside.x, inside.y, inside.width, inside.height]]))[
                0
            ].tolist()
        )
        if square is None or min(square[2:]) < SMALLEST:
            skip(
                "boxes that are outside of the picture, or too small to be seen",
                1,
                value=repr(box),
                step="correct the box, or let the model read larger pictures (the encoder's size)",
            )
            continue
        x, y, width, height = square
        keys.append(_key(picture.key, box, verdict))
        rows.append((x, y, x + width, y + height))
        found.append(columns[box.label])
        verdicts.append(verdict)
    # Twice the same box is one box.
    distinct = sorted({key: at for at, key in enumerate(keys)}.values())
    chosen = torch.tensor(distinct, dtype=torch.int64)
    return PictureBoxes(
        torch.tensor(keys, dtype=torch.int64)[chosen],
        torch.tensor(rows, dtype=torch.float32).view(-1, 4)[chosen],
        torch.tensor(found, dtype=torch.int64)[chosen],
        torch.tensor(verdicts, dtype=torch.int64)[chosen],
        complete,
    )


def _key(picture: str, box: Box, verdict: int) -> int:
    """Of an answer: the picture, the label and the place; and whether it was yes or no."""
    place = [round(value, 2) for value in (box.x, box.y, box.width, box.height)]
    digest = sha256(repr((picture, box.label, place, verdict)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
