"""Pictures moved, resized and mirrored at random, and the boxes in them likewise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

Flips = Literal["none", "horizontal", "both"]
GREY = 127


class Jitter(NamedTuple):
    """Where each picture of a batch has gone: x becomes `scale * x + shift`.

    Attributes:
        scale: in both directions; negative where it was mirrored.
        shift: in pixels.
    """

    scale: Float[Tensor, "batch 2"]
    shift: Float[Tensor, "batch 2"]

    def move(
        self, boxes: Float[Tensor, "box 4"], owners: Int[Tensor, " box"]
    ) -> Float[Tensor, "box 4"]:
        """The boxes of pictures where they are now, given the picture of each."""
        scale, shift = self.scale[owners].repeat(1, 2), self.shift[owners].repeat(1, 2)
        corners = (boxes * scale + shift).view(-1, 2, 2)
        return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def jitter_pictures(
    pixels: UInt8[Tensor, "batch 3 side side"], *, extent: float, flips: Flips
) -> tuple[UInt8[Tensor, "batch 3 side side"], Jitter]:
    """Move pictures; what comes in from outside is grey.

    Args:
        extent: sizes change by a factor of up to 1 + this, places by up to half this share of
            the side.
        flips: half of the pictures are mirrored from left to right, and for "both" half of
            them upside down, too.
    """
    n, side = len(pixels), pixels.shape[-1]
    draws = torch.rand(n, 5, device=pixels.device)
    scale = ((1 + extent) ** (2 * draws[:, :1] - 1)).repeat(1, 2)
    directions = {"none": [0, 0], "horizontal": [1, 0], "both": [1, 1]}[flips]
    mirrored = (draws[:, 1:3] < 0.5) & torch.tensor(directions, device=pixels.device).bool()
    scale = torch.where(mirrored, -scale, scale)
    drift = (draws[:, 3:] - 0.5) * extent * side
    shift = side / 2 - scale * side / 2 + drift
    # In units of half the side from the middle: what lies at a place comes from where.
    theta = torch.zeros(n, 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 1, 1] = (1 / scale).unbind(1)
    theta[:, :, 2] = -drift * 2 / side / scale
    grid = F.affine_grid(theta, [n, 3, side, side], align_corners=False)
    moved = F.grid_sample(pixels.float() - GREY, grid, align_corners=False) + GREY
    return moved.round().clamp(0, 255).to(torch.uint8), Jitter(scale, shift)
