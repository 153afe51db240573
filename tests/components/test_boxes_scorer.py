"""`spacy-torch.boxes_scorer.v1` against values by hand and a plain implementation."""

import builtins
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_torch.components.boxes_scorer import THRESHOLDS, make_boxes_scorer, score_boxes
from spacy_torch.features.boxes import Box, set_boxes

VOCAB = Vocab()


def example(gold, found, **settings):
    reference, predicted = Doc(VOCAB, ["a.png"]), Doc(VOCAB, ["a.png"])
    if gold is not None:
        set_boxes(reference, gold, **settings)
    set_boxes(predicted, found)
    return Example(predicted, reference)


def test_all_found_is_one_and_nothing_found_is_zero():
    boxes = [Box("a", 0, 0, 10, 10), Box("b", 5, 5, 8, 8)]
    scores = score_boxes([example(boxes, boxes)])
    assert scores["box_map"] == scores["box_map50"] == scores["box_map75"] == pytest.approx(1)
    assert scores["box_recall"] == pytest.approx(1)
    assert scores["box_ap50_per_type"] == pytest.approx({"a": 1, "b": 1})
    scores = score_boxes([example(boxes, [])])
    assert scores["box_map"] == scores["box_map50"] == scores["box_recall"] == 0


def test_overlap_decides_what_counts_as_found():
    # Of 10 x 10 and the same shifted by 2: intersection 80, union 120, overlap 2/3, which
    # reaches 0.5, 0.55, 0.6 and 0.65, 4 of the 10 thresholds.
    scores = score_boxes([example([Box("a", 0, 0, 10, 10)], [Box("a", 2, 0, 10, 10)])])
    assert scores["box_map50"] == pytest.approx(1)
    assert scores["box_map75"] == 0
    assert scores["box_map"] == pytest.approx(0.4)
    assert scores["box_recall"] == pytest.approx(0.4)


def test_order_by_score_decides_the_precision():
    # Right, wrong, right, and two of four are never found. Precision at a recall up to 1/4 is
    # 1, up to 2/4 it is 2/3, and beyond 0. Of 101 recalls 0, 0.01, ..., the first 26 are up to
    # 0.25 and the next 25 up to 0.5.
    gold = [Box("a", 20 * n, 0, 10, 10) for n in range(4)]
    found = [gold[0], Box("a", 200, 0, 10, 10, 0.9), gold[1]._replace(score=0.8)]
    scores = score_boxes([example(gold, found)])
    assert scores["box_map50"] == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert scores["box_recall"] == pytest.approx(0.5)


def test_second_box_on_an_object_is_wrong():
    gold = [Box("a", 0, 0, 10, 10), Box("a", 100, 0, 10, 10)]
    found = [gold[0], gold[0]._replace(score=0.9), gold[1]._replace(score=0.8)]
    # Right, wrong, right: precision 1 up to a recall of 1/2 (51 of 101), then 2/3.
    assert score_boxes([example(gold, found)])["box_map50"] == pytest.approx(
        (51 + 50 * 2 / 3) / 101
    )


def test_labels_are_averaged_and_boxes_of_another_label_do_not_match():
    gold = [Box("a", 0, 0, 10, 10), Box("b", 50, 0, 10, 10)]
    found = [gold[0], gold[1]._replace(label="a", score=0.5), Box("new", 0, 0, 5, 5)]
    scores = score_boxes([example(gold, found)])
    assert scores["box_ap50_per_type"] == pytest.approx({"a": 1, "b": 0})
    assert scores["box_map50"] == pytest.approx(0.5)


def test_only_so_many_boxes_of_a_label_count():
    gold = [Box("a", 20 * n, 0, 10, 10) for n in range(4)]
    scorer = make_boxes_scorer(max_boxes=2)
    assert scorer([example(gold, gold)])["box_recall"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="max_boxes must be >= 1, got 0"):
        make_boxes_scorer(max_boxes=0)


def test_pictures_of_which_not_all_is_known_do_not_count(caplog):
    box = Box("a", 0, 0, 10, 10)
    known = example([box], [box])
    partial = example([box], [box, Box("a", 50, 50, 9, 9)], complete=False)
    unknown = example(None, [Box("a", 70, 70, 9, 9)])
    with caplog.at_level(logging.WARNING):
        assert score_boxes([known, partial, unknown])["box_map"] == pytest.approx(1)
    assert "1 documents do not count in the scores of boxes" in caplog.text


def test_box_on_a_picture_without_objects_is_wrong():
    box = Box("a", 0, 0, 10, 10)
    wrong = example([], [box])
    # Wrong, right: a precision of 1/2 at every recall.
    late = example([box], [box._replace(score=0.5)])
    assert score_boxes([wrong, late])["box_map50"] == pytest.approx(0.5)


def test_scores_are_none_where_there_is_nothing_to_score():
    for examples in ([], [example(None, [])], [example([], [])]):
        scores = score_boxes(examples)
        assert len(scores) == 6
        assert set(scores.values()) == {None}


def test_scorer_is_registered():
    scorer = registry.resolve({"s": {"@scorers": "spacy-torch.boxes_scorer.v1"}})["s"]
    box = Box("a", 0, 0, 10, 10)
    assert scorer([example([box], [box])])["box_map"] == pytest.approx(1)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "faster_coco_eval":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    box = Box("a", 0, 0, 10, 10)
    with pytest.raises(ImportError, match=r'pip install "spacy-torch\[images\]"'):
        score_boxes([example([box], [box])])


def overlap(box, other):
    width = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
    height = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
    shared = max(width, 0) * max(height, 0)
    return shared / (box.width * box.height + other.width * other.height - shared)


def average_precision(pictures, label, threshold):
    """Of one label, written down from the definition."""
    hits, n_gold = [], 0
    for gold, found in pictures:
        gold = [box for box in gold if box.label == label]
        found = [box for box in found if box.label == label]
        n_gold += len(gold)
        free = list(range(len(gold)))
        for box in sorted(found, key=lambda box: -box.score):
            near = [n for n in free if overlap(box, gold[n]) >= threshold]
            # Of several that overlap as much, COCO takes the last.
            best = max(near, key=lambda n: (overlap(box, gold[n]), n), default=None)
            if best is not None:
                free.remove(best)
            hits.append((box.score, best is not None))
    hits.sort(key=lambda hit: -hit[0])
    points = []
    for place in range(1, len(hits) + 1):
        right = sum(is_right for _, is_right in hits[:place])
        points.append((right / n_gold, right / place))
    recalls = [step / 100 for step in range(101)]
    best = [max((p for r, p in points if r >= recall - 1e-9), default=0) for recall in recalls]
    return sum(best) / 101


corners = st.integers(0, 8)
sides = st.integers(1, 6)
golds = st.lists(
    st.builds(Box, st.sampled_from("ab"), corners, corners, sides, sides, st.just(1.0)), max_size=4
)


@st.composite
def pictures(draw):
    found = []
    drawn = [(draw(golds), draw(golds)) for _ in range(draw(st.integers(1, 3)))]
    n_found = sum(len(boxes) for _, boxes in drawn)
    # No two scores are the same: their order would be a matter of taste.
    scores = iter(draw(st.permutations([(n + 1) / 50 for n in range(n_found)])))
    for gold, boxes in drawn:
        found.append((gold, [box._replace(score=next(scores)) for box in boxes]))
    return found


@given(pictures())
@settings(max_examples=80, deadline=None)
def test_scores_are_those_of_the_definition(pictures):
    labels = {box.label for gold, _ in pictures for box in gold}
    scores = score_boxes([example(gold, found) for gold, found in pictures])
    if not labels:
        assert scores["box_map50"] is None
        return
    want = {label: average_precision(pictures, label, 0.5) for label in labels}
    assert scores["box_ap50_per_type"] == pytest.approx(want)
    assert scores["box_map50"] == pytest.approx(sum(want.values()) / len(want))
    all_wanted = [average_precision(pictures, lb, at) for lb in labels for at in THRESHOLDS]
    assert scores["box_map"] == pytest.approx(sum(all_wanted) / len(all_wanted))
