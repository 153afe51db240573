"""`spacy-torch.boxes_scorer.v1`: average precision of boxes, as the COCO challenges count it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.features.boxes import Box, get_boxes, has_boxes, is_complete, register_boxes

logger = logging.getLogger(__name__)

# What COCO's mAP averages over: 0.5, 0.55, ... 0.95.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def make_boxes_scorer(*, max_boxes: int = 100) -> Callable[..., dict[str, Any]]:
    """Average precision of boxes: mean over overlaps, at 0.5, at 0.75 and of each label.

    Args:
        max_boxes: of one label in one picture, of which the most probable count.
    """
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be >= 1, got {max_boxes}")
    register_boxes()
    return partial(score_boxes, max_boxes=max_boxes)


def score_boxes(examples: Iterable[Example], *, max_boxes: int = 100, **_: Any) -> dict[str, Any]:
    """COCO's average precision, by faster-coco-eval.

    - `box_map50`: of boxes that overlap a gold one by half of their union, mean of the labels;
    - `box_map75`: by three quarters;
    - `box_map`: mean of both and eight more overlaps, from 0.5 to 0.95;
    - `box_recall`: the share of gold boxes found, mean of labels and overlaps;
    - `box_ap50_per_type`, `box_ap_per_type`: the same of each label.

    References without boxes, or with boxes that are not complete, do not count: what is found
    there besides may be right. The latter are counted in a warning. Labels that no reference
    has do not count either. Where nothing counts, all scores are None.

    Raises:
        ImportError: faster-coco-eval is not installed.
    """
    pairs, n_partial = [], 0
    for example in examples:
        if is_complete(example.reference):
            pairs.append((example.reference, example.predicted))
        n_partial += has_boxes(example.reference) and not is_complete(example.reference)
    if n_partial:
        logger.warning(
            "%d documents do not count in the scores of boxes: not all of their boxes are known",
            n_partial,
        )
    labels = sorted({box.label for reference, _ in pairs for box in get_boxes(reference)})
    if not labels:
        return dict.fromkeys(_NAMES)
    precision, recall = _evaluate(pairs, labels, max_boxes=max_boxes)
    by_overlap = precision.mean(axis=1)  # overlap, label
    return {
        "box_map50": float(by_overlap[0].mean()),
        "box_map75": float(by_overlap[5].mean()),
        "box_map": float(by_overlap.mean()),
        "box_recall": float(recall.mean()),
        "box_ap50_per_type": dict(zip(labels, by_overlap[0].tolist(), strict=True)),
        "box_ap_per_type": dict(zip(labels, by_overlap.mean(axis=0).tolist(), strict=True)),
    }


_NAMES = (
    "box_map50",
    "box_map75",
    "box_map",
    "box_recall",
    "box_ap50_per_type",
    "box_ap_per_type",
)


def _evaluate(
    pairs: Sequence[tuple[Doc, Doc]], labels: Sequence[str], *, max_boxes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (overlap, recall, label) and recall (overlap, label); each label has gold."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ImportError(
            "boxes are scored with faster-coco-eval, which is not installed: "
            'python -m pip install "spacy-torch[images]"'
        ) from error
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    images = [{"id": number, "width": 1, "height": 1} for number in range(1, len(pairs) + 1)]
    shared = {
        "images": images,
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
    }
    sides: list[Any] = []
    for docs in zip(*pairs, strict=True):
        rows = [
            _to_annotation(box, image=image, category=numbers[box.label])
            for image, doc in enumerate(docs, start=1)
            for box in get_boxes(doc)
            if box.label in numbers
        ]
        annotations = [{"id": number, **row} for number, row in enumerate(rows, start=1)]
        data = {**shared, "annotations": annotations}
        sides.append(COCO(data, print_function=logger.debug))
    gold, found = sides
    evaluator = COCOeval_faster(gold, found, "bbox", print_function=logger.debug)
    evaluator.params.iouThrs = np.array(THRESHOLDS)
    evaluator.params.maxDets = [max_boxes]
    evaluator.params.areaRng = [[0, float("inf")]]
    evaluator.params.areaRngLbl = ["all"]
    evaluator.evaluate()
    evaluator.accumulate()
    # Overlap, recall, label, area, number of boxes; of the last two there is one.
    precision = np.asarray(evaluator.eval["precision"])[..., 0, 0]
    recall = np.asarray(evaluator.eval["recall"])[..., 0, 0]
    return precision, recall


def _to_annotation(box: Box, *, image: int, category: int) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(box[1:5]),
        "area": box.width * box.height,
        "iscrowd": 0,
        "score": box.score,
    }
