"""Other views of the same pictures, drawn at random for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a picture without changing what it shows.

    Attributes:
        flip: left and right may change places.
        shift: the share of the side by which a picture may be moved, in each direction; what
            comes in at the edge repeats the edge.
        zoom: the share by which it may be made larger or smaller.
        colour: the share by which its contrast and brightness may change.
    """

    flip: bool = False
    shift: float = 0.0
    zoom: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and less than 1, got {getattr(self, name)}"
                )

    def __bool__(self) -> bool:
        return self != Augmentation()

    def draw(
        self, pixels: UInt8[Tensor, "batch 3 height width"]
    ) -> UInt8[Tensor, "batch 3 height width"]:
        """A view of each picture, each drawn on its own."""
        n_pictures, _, height, width = pixels.shape
        scale = 1 + self.zoom * self._draw_signs(pixels)
        rows = _draw_places(height, scale, self.shift * self._draw_signs(pixels))
        columns = _draw_places(width, scale, self.shift * self._draw_signs(pixels))
        if self.flip:
            is_flipped = torch.rand(n_pictures, 1, device=pixels.device) < 0.5
            columns = torch.where(is_flipped, width - 1 - columns, columns)
        pictures = torch.arange(n_pictures, device=pixels.device).view(-1, 1, 1)
        # picture, row, column, channel -> picture, channel, row, column
        views = pixels[pictures, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
        if not self.colour:
            return views
        contrast, brightness = (
            self.colour * self._draw_signs(pixels).view(-1, 1, 1, 1) for _ in range(2)
        )
        changed = (views.float() - 127.5) * (1 + contrast) + 127.5 * (1 + brightness)
        return changed.round().clamp(0, 255).to(torch.uint8)

    def _draw_signs(self, pixels: Tensor) -> Tensor:
        """A number from -1 to 1 for each picture, shape (picture, 1)."""
        return torch.rand(len(pixels), 1, device=pixels.device) * 2 - 1


def _draw_places(side: int, scale: Tensor, shift: Tensor) -> Tensor:
    """The place in the picture that each place of a view is taken from, (picture, place)."""
    middle = (side - 1) / 2
    places = torch.arange(side, device=scale.device) - middle
    moved = places * scale + middle + shift * side
    return moved.round().clamp(0, side - 1).long()
