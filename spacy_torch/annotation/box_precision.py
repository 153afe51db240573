"""Average precision of boxes, as the COCO challenges count it, at one overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spacy_torch.annotation.measures import Floats
from spacy_torch.features.boxes import Box

# The points of recall over which precision is averaged.
RECALLS = np.linspace(0, 1, 101)
# Of one label in one picture.
MOST_BOXES = 100


def measure_box_precision(
    found: Sequence[Sequence[Box]],
    true: Sequence[Sequence[Box]],
    *,
    labels: Sequence[str],
    overlap: float = 0.5,
) -> float:
    """The mean over labels; labels that are nowhere are left out, and 0 if all are.

    Args:
        found: the boxes found in each picture, with scores.
        true: the boxes that are there.
        overlap: intersection over union from which on a box is where the object is.
    """
    values: list[float] = []
    for label in labels:
        n_true = sum(box.label == label for boxes in true for box in boxes)
        if not n_true:
            continue
        pairs = [
            pair
            for ours, theirs in zip(found, true, strict=True)
            for pair in _judge(_of(ours, label), _of(theirs, label), overlap)
        ]
        values.append(_average_precision(pairs, n_true))
    return float(np.mean(values)) if values else 0.0


def overlaps_of(boxes: Sequence[Box], others: Sequence[Box]) -> Floats:
    """Intersection over union of each box with each other one, whatever their labels."""
    if not boxes or not others:
        return np.zeros((len(boxes), len(others)))
    ours, theirs = (np.array([box.corners for box in some]) for some in (boxes, others))
    low = np.maximum(ours[:, None, :2], theirs[:, :2])
    high = np.minimum(ours[:, None, 2:], theirs[:, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(some[:, 2:] - some[:, :2]).prod(axis=1) for some in (ours, theirs)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def judge_boxes(
    boxes: Sequence[Box], true: Sequence[Box], *, overlap: float = 0.5
) -> list[tuple[float, bool]]:
    """The score of each box, and whether it is at an object of its label that no likelier one has.

    The likeliest come first.
    """
    labels = dict.fromkeys(box.label for box in boxes)
    pairs = [
        pair for label in labels for pair in _judge(_of(boxes, label), _of(true, label), overlap)
    ]
    return sorted(pairs, key=lambda pair: -pair[0])


def _of(boxes: Sequence[Box], label: str) -> list[Box]:
    chosen = [box for box in boxes if box.label == label]
    return sorted(chosen, key=lambda box: -box.score)[:MOST_BOXES]


def _judge(boxes: Sequence[Box], true: Sequence[Box], overlap: float) -> list[tuple[float, bool]]:
    """Of one label, likeliest first: each takes the object that it covers best of those left."""
    shares = overlaps_of(boxes, true)
    pairs: list[tuple[float, bool]] = []
    for row, box in enumerate(boxes):
        best = int(shares[row].argmax()) if len(true) else -1
        is_right = best >= 0 and bool(shares[row, best] >= overlap)
        if is_right:
            shares[:, best] = -1.0
        pairs.append((box.score, is_right))
    return pairs


def _average_precision(pairs: Sequence[tuple[float, bool]], n_true: int) -> float:
    if not pairs:
        return 0.0
    ordered = sorted(pairs, key=lambda pair: -pair[0])
    hits = np.cumsum([is_right for _, is_right in ordered])
    precision = hits / np.arange(1, len(hits) + 1)
    # From each recall on, the best precision that is still to come.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / n_true, RECALLS, side="left")
    reached = places < len(envelope)
    return float(envelope[places[reached]].sum() / len(RECALLS))
