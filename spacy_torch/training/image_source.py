"""How the pictures and boxes that a file of annotations names are found and checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spacy_torch.features.boxes import Box, clip_box
from spacy_torch.features.image_paths import resolve_path
from spacy_torch.features.picture import Picture
from spacy_torch.training.noticed import Noticed

# By less than this a box may stand out of its picture without a word: a matter of rounding.
TOLERANCE = 0.5


@dataclass(frozen=True)
class ImageSource:
    """What a reader knows besides its file of annotations.

    Attributes:
        folder: of the pictures, and none is looked for elsewhere.
        allow_outside: a path may lead out of the folder.
        labels: those that exist; None for any.
        outside: a box that stands out of its picture is cut to it ("clip"), or refused.
        noticed: what was left out or changed.
    """

    folder: Path
    allow_outside: bool = False
    labels: Sequence[str] | None = None
    outside: Literal["clip", "error"] = "clip"
    noticed: Noticed = field(default_factory=Noticed)

    def find_picture(self, path: str, *, where: str) -> Picture:
        """The picture that a path or a data URI names.

        Raises:
            FileNotFoundError: there is no such file; the message begins with `where`.
            ValueError: it is a URL, or leads out of the folder.
        """
        try:
            if path[:5].lower() == "data:":
                return Picture.from_source(path)
            path = resolve_path(path, root=str(self.folder), allow_outside=self.allow_outside)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        found = os.path.normpath(path)  # so that one picture is the same wherever it is named
        if not os.path.isfile(found):
            raise FileNotFoundError(
                f"{where}: there is no picture {found}: name the folder of the pictures with "
                "images, or correct the path"
            )
        return Picture(path=found)

    def measure(self, picture: Picture, *, where: str) -> tuple[int, int]:
        """Width and height of a picture.

        Raises:
            ValueError: it is no image; the message begins with `where`.
        """
        try:
            return picture.size
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def check_label(self, label: str, *, where: str) -> str:
        """The label, if it exists.

        Raises:
            ValueError: it does not; the message begins with `where`.
        """
        if self.labels is not None and label not in self.labels:
            raise ValueError(
                f"{where}: there is no label {label!r}, only {', '.join(sorted(self.labels))}: "
                "correct it, or add it to labels"
            )
        return label

    def check_boxes(
        self, boxes: Iterable[Box], size: tuple[int, int], *, where: str
    ) -> tuple[Box, ...]:
        """The boxes within a picture of this width and height.

        Boxes without an area and boxes that lie outside are left out, those that stand out are
        cut to the picture, and all of these are counted.

        Raises:
            ValueError: a label does not exist, or a box stands out and must not.
        """
        checked = [self._check_box(box, size, where) for box in boxes]
        return tuple(box for box in checked if box is not None)

    def _check_box(self, box: Box, size: tuple[int, int], where: str) -> Box | None:
        self.check_label(box.label, where=where)
        if box.width <= 0 or box.height <= 0:
            self.noticed.add("boxes without an area left out", where=where)
            return None
        left, top, right, bottom = box.corners
        excess = max(-left, -top, right - size[0], bottom - size[1])
        if excess <= 0:
            return box
        if excess > TOLERANCE and self.outside == "error":
            raise ValueError(
                f"{where}: {box!r} stands out of the picture of {size[0]} x {size[1]} pixels: "
                'correct it, or cut such boxes with outside = "clip"'
            )
        clipped = clip_box(box, size)
        if clipped is None:
            self.noticed.add("boxes outside of their pictures left out", where=where)
        elif excess > TOLERANCE:
            self.noticed.add("boxes cut to their pictures", where=where)
        return clipped
