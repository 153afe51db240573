"""An anchor-free detector: at each point of a map, what is centred there and how far it reaches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.heatmap_loss import Heatmap, place_points

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# Of the logits of a heatmap at the beginning: an object is centred at few of the points.
RARE = -math.log((1 - 0.01) / 0.01)


class HeatmapDetector(nn.Module):
    """An encoder, dilated convolutions that see the surroundings, and the two maps.

    The design is that of CenterNet (Zhou et al. 2019, https://arxiv.org/abs/1904.07850) and
    TTFNet (Liu et al. 2020, https://arxiv.org/abs/1909.00700), which learns the edges from all
    points near a centre and so from fewer steps. Normalized is each picture on its own.

    Args:
        encoder: a module that maps pixels to features (batch, width, row, column).
        width: the channels of these features.
        stride: pixels per point of the map.
        hidden_width: the channels of the convolutions, a multiple of 8.
    """

    def __init__(
        self, encoder: nn.Module, *, width: int, n_labels: int, stride: int, hidden_width: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = stride
        self.reduce = nn.Conv2d(width, hidden_width, 1)
        self.context = nn.Sequential(*(_Context(hidden_width, n) for n in (1, 2, 4)))
        self.centres = nn.Conv2d(hidden_width, n_labels, 1)
        self.sides = nn.Conv2d(hidden_width, 4, 1)
        nn.init.zeros_(self.centres.weight)
        nn.init.constant_(self.centres.bias, RARE)  # type: ignore[arg-type]
        nn.init.zeros_(self.sides.weight)
        nn.init.constant_(self.sides.bias, math.log(3))  # type: ignore[arg-type]

    def forward(self, pixels: UInt8[Tensor, "batch 3 side side"]) -> Heatmap:
        """Read a batch of pictures."""
        hidden = self.context(F.relu(self.reduce(self.encoder(pixels))))
        # Exponents: a step of the optimizer moves large and small boxes alike.
        sides = self.sides(hidden).clamp(max=8).exp() * self.stride
        return Heatmap(self.centres(hidden), sides)


class _Context(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.mix = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.mix(self.norm(x)))


def sides_to_boxes(
    sides: Float[Tensor, "batch 4 row column"], *, stride: float
) -> Float[Tensor, "batch 4 row column"]:
    """The box at each point of a heatmap, in pixels."""
    places = place_points(sides, stride=stride)
    return torch.cat([places - sides[:, :2], places + sides[:, 2:]], dim=1)
