"""Which sizes of windows to look through: those of the objects that were annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

ROUNDS = 20
# While there are few boxes, sizes by this factor above and below theirs are looked through too.
LADDER = 1.3
# Two sizes whose sides differ by less than this factor are one.
ALIKE = 1.08


def default_sizes(side: float) -> list[tuple[float, float]]:
    """Heights and widths for a square picture of which nothing is known yet.

    Most windows are small, as in any picture cut into windows.
    """
    heights = torch.linspace(0, 1, 6).mul(torch.tensor(7.0).log()).exp() * side / 14
    ratios = (1.0, 1.2, 1 / 1.2)
    return [
        (float(height * ratio), float(height / ratio)) for height in heights for ratio in ratios
    ]


def choose_sizes(
    sizes: Float[Tensor, "box 2"], *, n_sizes: int, n_few: int
) -> Float[Tensor, "size 2"]:
    """The heights and widths that are nearest to all of those that were annotated.

    By k-means on their logarithms, each mean beginning where the others are furthest. The order
    of the boxes makes no difference.

    Args:
        sizes: height and width of each box.
        n_sizes: the most means.
        n_few: with fewer boxes than this, larger and smaller sizes are added to the means.
    """
    if not len(sizes):
        return sizes
    points = sizes.double().log()
    points = points[torch.argsort(points[:, 1], stable=True)]
    points = points[torch.argsort(points[:, 0], stable=True)]
    means = points[len(points) // 2].unsqueeze(0)
    distances = (points - means).square().sum(1)
    while len(means) < n_sizes and float(distances.max()) > 0:
        means = torch.cat([means, points[distances.argmax()].unsqueeze(0)])
        distances = torch.minimum(distances, (points - means[-1]).square().sum(1))
    for _ in range(ROUNDS):
        nearest = (points[:, None] - means).square().sum(2).argmin(1)
        counts = torch.bincount(nearest, minlength=len(means)).unsqueeze(1)
        sums = torch.zeros_like(means).index_add_(0, nearest, points)
        means = torch.where(counts > 0, sums / counts.clamp(min=1), means)
    if len(sizes) < n_few:
        step = torch.tensor(LADDER, dtype=means.dtype).log()
        means = torch.cat([means, means + step, means - step])
    return _drop_alike(means).exp().float()


def _drop_alike(logs: Float[Tensor, "size 2"]) -> Float[Tensor, "kept 2"]:
    """Of sizes that are nearly the same, the first."""
    limit = torch.tensor(ALIKE, dtype=logs.dtype).log()
    alike = ((logs[:, None] - logs).abs() < limit).all(2).tril(diagonal=-1)
    kept = [0]
    for row in range(1, len(logs)):
        if not alike[row, kept].any():
            kept.append(row)
    return logs[kept]
