"""Geometry of boxes: areas, overlaps, and one box for each heap of them.

A box is a row `x0, y0, x1, y1`: its left, top, right and bottom edge, in any unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def box_areas(boxes: Float[Tensor, "box 4"]) -> Float[Tensor, " box"]:
    """The area of each box; 0 for one whose edges are the wrong way round."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def box_iou(
    boxes: Float[Tensor, "box 4"], others: Float[Tensor, "other 4"]
) -> Float[Tensor, "box other"]:
    """The intersection over the union of each pair; 0 where either box has no area."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = (high - low).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = box_areas(boxes)[:, None] + box_areas(others)[None, :] - shared
    return torch.where(shared > 0, shared / union.clamp(min=1e-12), torch.zeros_like(shared))


def suppress(
    boxes: Float[Tensor, "box 4"],
    scores: Float[Tensor, " box"],
    *,
    overlap: float,
    groups: Int[Tensor, " box"] | None = None,
) -> Int[Tensor, " kept"]:
    """The rows of the boxes that no better box covers, the best first.

    Greedy non-maximum suppression: from the best box down, each is kept unless its
    intersection over union with a kept one is above `overlap`. Instead of a loop over the
    boxes all are decided at once, again and again until nothing changes: after round k the
    k best are decided for good, and as a rule all of them after a few rounds.

    Args:
        boxes: any number, of which some thousands are no burden.
        scores: the higher the better; of equal ones the first counts as the better.
        overlap: above which a box suppresses a worse one.
        groups: boxes of different groups, such as labels, leave each other alone.
    """
    order = scores.argsort(descending=True, stable=True)
    covers = box_iou(boxes[order], boxes[order]) > overlap
    if groups is not None:
        covers &= groups[order, None] == groups[None, order]
    covers = covers.triu(diagonal=1)  # a better box covers a worse one
    kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        again = ~(covers & kept[:, None]).any(dim=0)
        if torch.equal(again, kept):
            return order[kept]
        kept = again
