"""What a heatmap ought to say of given boxes, and how far it is from saying so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacy_torch.nn.box_ops import box_areas
from spacy_torch.nn.picture_jitter import Jitter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# The widths of a box's bump, as a share of its sides (TTFNet's alpha of 0.54, three widths to
# either side), and as points of the map at least.
BUMP = 0.54 / 6
NARROWEST = 0.25
# The points at which a box's edges are learned are where its bump is higher than this.
FOOT = 0.05
EDGES_WEIGHT = 5.0
# Of the focal loss: exponents of what is missing at a centre, and of how far a point is from one.
FOCUS = 2
TOLERANCE = 4


class Heatmap(NamedTuple):
    """What a heatmap detector says of a batch.

    Attributes:
        centres: logits that an object of each label is centred at a point of the map.
        sides: of an object centred there, how far its left, top, right and bottom edges
            are from the point, in pixels.
    """

    centres: Float[Tensor, "batch label row column"]
    sides: Float[Tensor, "batch 4 row column"]


class MovedHeatmap(NamedTuple):
    """What a heatmap detector says of a batch in training.

    Attributes:
        heatmap: of the pictures as they were shown to it.
        jitter: where that is from where they were.
        stride: pixels per point of the map.
    """

    heatmap: Heatmap
    jitter: Jitter
    stride: int

    def loss(
        self,
        boxes: Float[Tensor, "box 4"],
        *,
        labels: Int[Tensor, " box"],
        owners: Int[Tensor, " box"],
        verdicts: Int[Tensor, " box"],
        is_complete: Bool[Tensor, " batch"],
        is_used: Bool[Tensor, " batch"],
    ) -> Tensor:
        """The loss against what is known of the boxes, summed over the pictures.

        At the centres of each label a focal loss (Law and Deng 2018,
        https://arxiv.org/abs/1808.01244), and for the edges of each accepted box one minus the
        generalized intersection over union (Rezatofighi et al. 2019), averaged over the points
        near its centre. Where a picture is not complete, only what is near the given boxes is
        known.

        Args:
            boxes: in pixels, where they were before the pictures were moved.
            labels: of the boxes.
            owners: the picture of each.
            verdicts: whether it holds an object of its label, 1 or 0.
            is_complete: all of a picture's objects are among the boxes.
            is_used: which pictures count at all.
        """
        centres, sides = self.heatmap
        n_pictures, n_labels, rows, columns = centres.shape
        moved = Jitter(*(part.detach() for part in self.jitter)).move(boxes, owners)
        limits = moved.new_tensor([columns, rows]) * self.stride
        middles = (moved[:, :2] + moved[:, 2:]) / 2
        inside = ((middles >= 0) & (middles < limits)).all(1) & is_used[owners]
        moved, labels, owners = moved[inside], labels[inside], owners[inside]
        accepted = verdicts[inside] == 1
        bumps = draw_bumps(moved, sides, stride=self.stride)
        maps = owners * n_labels + labels
        flat = n_pictures * n_labels, rows, columns
        target = _highest(bumps[accepted], maps[accepted], n_maps=flat[0]).view_as(centres)
        near = (_highest(bumps, maps, n_maps=flat[0]) > FOOT).view_as(centres)
        known = (is_complete[:, None, None, None] | near) & is_used[:, None, None, None]
        lost = torch.where(known, focal_loss(centres, target), 0.0).sum()
        counts = torch.bincount(owners[accepted], minlength=n_pictures).clamp(min=1)
        # The mean over the boxes of the batch, times its pictures: boxes count alike.
        n_boxes = counts[is_used].sum().clamp(min=1)
        edges = self._edge_loss(sides, moved[accepted], bumps[accepted], owners[accepted])
        return (lost + EDGES_WEIGHT * edges) * n_pictures / n_boxes

    def _edge_loss(self, sides: Tensor, boxes: Tensor, bumps: Tensor, owners: Tensor) -> Tensor:
        if not len(boxes):
            return sides.sum() * 0.0
        weights = torch.where(bumps > FOOT, bumps, 0.0)
        weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1e-6)
        box, row, column = weights.nonzero(as_tuple=True)
        places = place_points(sides, stride=self.stride)[:, row, column].T
        reach = sides[owners[box], :, row, column]
        found = torch.cat([places - reach[:, :2], places + reach[:, 2:]], dim=1)
        losses = 1 - generalized_iou(found, boxes[box])
        return (losses * weights[box, row, column]).sum()


def place_points(sides: Float[Tensor, "batch 4 row column"], *, stride: float) -> Tensor:
    """Where the points of a map are: x and y in pixels, (2, row, column)."""
    rows, columns = sides.shape[-2:]
    places = [torch.arange(n, device=sides.device, dtype=sides.dtype) for n in (rows, columns)]
    y, x = torch.meshgrid(*places, indexing="ij")
    return (torch.stack([x, y]) + 0.5) * stride


def draw_bumps(
    boxes: Float[Tensor, "box 4"], sides: Tensor, *, stride: float
) -> Float[Tensor, "box row column"]:
    """For each box a bump as wide and high as a share of it, 1 at the point next to its centre."""
    places = place_points(sides.detach(), stride=stride)
    rows, columns = places.shape[-2:]
    limits = boxes.new_tensor([columns - 1, rows - 1])
    points = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).floor().clamp(min=0).minimum(limits)
    widths = ((boxes[:, 2:] - boxes[:, :2]) * BUMP).clamp(min=stride * NARROWEST)
    distances = places - ((points + 0.5) * stride)[:, :, None, None]
    return (-(distances / widths[:, :, None, None]).square().sum(1) / 2).exp()


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """At each point: what is missing at a centre; elsewhere what is too much, less near one."""
    chances = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    missing = -((1 - chances) ** FOCUS) * chances.log()
    too_much = -((1 - target) ** TOLERANCE) * chances**FOCUS * (1 - chances).log()
    return torch.where(target > 0.999, missing, too_much)


def generalized_iou(
    boxes: Float[Tensor, "box 4"], others: Float[Tensor, "box 4"]
) -> Float[Tensor, " box"]:
    """Of each pair: intersection over union, less the share of their hull that neither covers."""
    low, high = torch.maximum(boxes, others), torch.minimum(boxes, others)
    shared = (high[:, 2:] - low[:, :2]).clamp(min=0).prod(1)
    union = (box_areas(boxes) + box_areas(others) - shared).clamp(min=1e-6)
    hull = (low[:, 2:] - high[:, :2]).prod(1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def _highest(
    bumps: Float[Tensor, "box row column"], maps: Int[Tensor, " box"], *, n_maps: int
) -> Float[Tensor, "map row column"]:
    """The highest bump at each point of each map, given the map of each."""
    drawn = bumps.new_zeros(n_maps, *bumps.shape[1:])
    order = maps.argsort(stable=True)
    rank = torch.arange(len(maps), device=maps.device) - torch.searchsorted(
        maps[order], maps[order]
    )
    # The first box of every map, then the second of every one, ...: no map twice in a round.
    for n in range(int(rank.max()) + 1 if len(rank) else 0):
        chosen = order[rank == n]
        drawn[maps[chosen]] = torch.maximum(drawn[maps[chosen]], bumps[chosen])
    return drawn
