"""Average precision of boxes: cases that can be seen, and the same as faster-coco-eval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_torch.annotation.box_precision import judge_boxes, measure_box_precision, overlaps_of
from spacy_torch.components.boxes_scorer import make_boxes_scorer
from spacy_torch.features.boxes import Box, set_boxes

TRUE = [Box("A", 0, 0, 10, 10), Box("A", 50, 50, 10, 10), Box("B", 0, 0, 10, 10)]


def test_overlaps_are_shares_of_the_union():
    others = [Box("B", 5, 0, 10, 10), Box("B", 20, 0, 1, 1)]
    assert overlaps_of(TRUE[:1], others).tolist() == [[pytest.approx(50 / 150), 0.0]]
    assert overlaps_of([], others).shape == (0, 2)
    assert overlaps_of(others, []).shape == (2, 0)


def test_an_object_is_found_once_and_by_a_box_of_its_label():
    found = [
        Box("A", 1, 0, 10, 10, 0.9),
        Box("A", 0, 0, 10, 10, 0.8),
        Box("B", 50, 50, 10, 10, 0.7),
    ]
    assert judge_boxes(found, TRUE) == [(0.9, True), (0.8, False), (0.7, False)]
    # Of A one of two objects, at full precision: recalls 0 to 0.5 of 101; of B nothing.
    expected = (51 / 101 + 0.0) / 2
    assert measure_box_precision([found], [TRUE], labels=["A", "B"]) == pytest.approx(expected)


def test_labels_that_are_nowhere_do_not_count():
    assert measure_box_precision([TRUE], [TRUE], labels=["A", "B", "C"]) == 1.0
    assert measure_box_precision([[]], [TRUE], labels=["A"]) == 0.0
    assert measure_box_precision([TRUE], [[]], labels=["A", "B"]) == 0.0


numbers = st.integers(0, 12)
boxes = st.builds(
    lambda label, x, y, width, height: (label, x, y, width + 4, height + 4),
    st.sampled_from(["A", "B"]), numbers, numbers, numbers, numbers,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(boxes, max_size=4), st.lists(boxes, max_size=5)), min_size=1))
def test_it_is_what_faster_coco_eval_counts(pictures):
    true = [[Box(*box) for box in ours] for ours, _ in pictures]
    scores = iter(np.random.default_rng(0).permutation(1000) / 1000)  # no two alike
    found = [[Box(*box, float(next(scores))) for box in theirs] for _, theirs in pictures]
    examples = []
    for ours, theirs in zip(true, found, strict=True):
        docs = Doc(Vocab()), Doc(Vocab())
        set_boxes(docs[0], theirs)
        set_boxes(docs[1], ours)
        examples.append(Example(*docs))
    expected = make_boxes_scorer()(examples)["box_map50"]
    assert measure_box_precision(found, true, labels=["A", "B"]) == pytest.approx(expected or 0.0)
