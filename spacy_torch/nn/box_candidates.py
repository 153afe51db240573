"""What the two halves of a detector propose for a picture, before one of them is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_torch.nn.box_ops import box_iou
from spacy_torch.nn.box_windows import move_edges
from spacy_torch.nn.heatmap_detector import HeatmapDetector, sides_to_boxes
from spacy_torch.nn.heatmap_loss import Heatmap
from spacy_torch.nn.whitened_lda import NEVER, LinearLabels, WhitenedLDA
from spacy_torch.nn.window_pyramid import read_layers, score_windows

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

# How many windows, and points of the heatmap, of a picture may become boxes.
MOST_WINDOWS = 600
MOST_POINTS = 200
# A box found by one half is compared with windows of the other that cover it so far.
SAME_PLACE = 0.5
# What its logit loses on the way, in proportion to what the two do not share.
BESIDE = 2.0
# The logit of a half that has not found anything in the picture.
NOTHING_THERE = -6.0


class Candidates(NamedTuple):
    """What the two halves propose for one picture.

    Attributes:
        boxes: in pixels of the square.
        labels: of each.
        fast: logits of the fast half.
        slow: logits of the slow half; zeros where it was not asked.
        is_slow: which were proposed by the slow half.
    """

    boxes: Float[Tensor, "box 4"]
    labels: Int[Tensor, " box"]
    fast: Float[Tensor, " box"]
    slow: Float[Tensor, " box"]
    is_slow: Bool[Tensor, " box"]


def propose_boxes(
    fast: WhitenedLDA,
    slow: HeatmapDetector | None,
    *,
    labels: LinearLabels,
    pixels: UInt8[Tensor, "3 side side"],
    feature_map: Float[Tensor, "1 width row column"],
    stride: float,
) -> Candidates:
    """What either half would find in one picture, with the logits of both.

    Args:
        fast: the half that looks at windows.
        slow: the half that looks at pixels; None where it is not asked.
        labels: how the fast half tells windows of each label.
        pixels: of the picture.
        feature_map: what the fast half reads of it.
        stride: pixels per point of that map.
    """
    windows, window_labels, window_logits = _propose_windows(
        fast, labels, feature_map, stride=stride
    )
    windows = windows.clamp(0, pixels.shape[-1])
    if slow is None:
        is_slow = torch.zeros_like(window_labels, dtype=torch.bool)
        return Candidates(
            windows, window_labels, window_logits, torch.zeros_like(window_logits), is_slow
        )
    heatmap: Heatmap = slow(pixels[None])
    points, point_labels, point_logits = _propose_points(heatmap, stride=slow.stride)
    points = points.clamp(0, pixels.shape[-1])
    overlaps = box_iou(windows, points) * (window_labels[:, None] == point_labels)
    return Candidates(
        torch.cat([windows, points]),
        torch.cat([window_labels, point_labels]),
        torch.cat([window_logits, _ask_others(overlaps.T, window_logits)]),
        torch.cat([_ask_others(overlaps, point_logits), point_logits]),
        torch.arange(len(windows) + len(points), device=windows.device) >= len(windows),
    )


def _propose_windows(
    fast: WhitenedLDA, labels: LinearLabels, feature_map: Tensor, *, stride: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The best windows, with their edges where the regression puts them."""
    layers = read_layers(feature_map, fast.sizes_in_use(), stride=stride)
    known = (labels.bias > NEVER).nonzero()[:, 0]
    if not layers or not len(known):
        nothing = feature_map.new_zeros(0)
        return nothing.view(0, 4), nothing.long(), nothing
    edges = fast.edges
    weight = torch.cat([labels.weight[known].to(edges), edges[:, :-1]])
    bias = torch.cat([labels.bias[known].to(edges), edges[:, -1]])
    values = torch.cat([score_windows(layer, weight, bias)[0] for layer in layers])
    scores, offsets = values[:, : len(known)], values[:, len(known) :]
    best, places = scores.flatten().topk(min(MOST_WINDOWS, scores.numel()))
    rows = places // len(known)
    windows = torch.cat([layer.boxes() for layer in layers])[rows]
    return move_edges(windows, offsets[rows]), known[places % len(known)], best


def _propose_points(heatmap: Heatmap, *, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest points of the heatmap of one picture, as boxes, with labels and logits."""
    centres = heatmap.centres[0]
    label, row, column = (centres == _max_near(centres)).nonzero(as_tuple=True)
    logits, best = centres[label, row, column].topk(min(MOST_POINTS, len(label)))
    boxes = sides_to_boxes(heatmap.sides, stride=stride)[0]
    return boxes[:, row[best], column[best]].T, label[best], logits


def _max_near(centres: Float[Tensor, "label row column"]) -> Tensor:
    """The largest logit at and beside each point."""
    return F.max_pool2d(centres[None], 3, stride=1, padding=1)[0]


def _ask_others(
    overlaps: Float[Tensor, "box other"], logits: Float[Tensor, " other"]
) -> Float[Tensor, " box"]:
    """What the other half says of each box: its best box there, less for one that is beside.

    Where it has found nothing, what it says of the least likely of its boxes.
    """
    if not len(logits):
        return overlaps.new_full((len(overlaps),), NOTHING_THERE)
    there = torch.where(overlaps > SAME_PLACE, logits - BESIDE * (1 - overlaps), -torch.inf)
    return torch.maximum(there.amax(1), logits.min())
