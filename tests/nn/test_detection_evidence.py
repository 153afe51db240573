import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.box_candidates import Candidates
from spacy_torch.nn.box_ops import box_iou
from spacy_torch.nn.detection_evidence import (
    CAUTION,
    Evidence,
    _Outcome,
    average_precisions,
    is_right,
)

edges = st.integers(0, 5)
placed = st.tuples(edges, edges, st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))


def split(rows):
    """Boxes and labels."""
    table = torch.tensor(rows, dtype=torch.float32).view(-1, 5)
    return torch.cat([table[:, :2], table[:, :2] + table[:, 2:4]], dim=1), table[:, 4].long()


@settings(deadline=None)
@given(st.lists(placed, max_size=6), st.lists(placed, max_size=4))
def test_right_boxes_are_the_first_at_the_place_of_an_object_of_their_label(rows, objects):
    boxes, labels = split(rows)
    truth, truth_labels = split(objects)
    taken, expected = set(), []
    for box, label in zip(boxes, labels, strict=True):
        overlaps = [
            float(box_iou(box[None], one[None])) if same == label else 0.0
            for one, same in zip(truth, truth_labels, strict=True)
        ]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        hit = best is not None and overlaps[best] >= 0.5
        expected.append(hit and best not in taken)
        taken |= {best} if hit else set()
    assert is_right(boxes, labels, truth, truth_labels).tolist() == expected


TRUTH = torch.tensor([[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0], [60.0, 0.0, 70.0, 10.0]])
WRONG = TRUTH + 100


def candidates(*, fast_is_right, slow_is_right):
    """Both halves propose right and wrong boxes, and like the one kind or the other."""
    boxes = torch.cat([TRUTH, WRONG, TRUTH, WRONG])
    right = torch.tensor([1.0] * 3 + [-1.0] * 3).repeat(2)
    fast, slow = (right if is_right else -right for is_right in (fast_is_right, slow_is_right))
    is_slow = torch.arange(12) >= 6
    return Candidates(boxes, torch.zeros(12, dtype=torch.int64), 3 * fast, 3 * slow, is_slow)


def take(evidence, found, *, pictures, with_slow=True):
    labels = torch.zeros(3, dtype=torch.int64)
    for picture in pictures:
        evidence.take(picture, found, truth=TRUTH, labels=labels, with_slow=with_slow, overlap=0.5)
    evidence.weigh()


def test_without_evidence_the_slow_half_has_no_say():
    evidence = Evidence(n_labels=1)
    evidence.weigh()
    assert not evidence.trusts_slow
    found = candidates(fast_is_right=False, slow_is_right=True)
    boxes, chances, _ = evidence.find(found, overlap=0.5)
    assert boxes[:3].tolist() == WRONG.tolist()
    torch.testing.assert_close(chances, found.fast[:6].sigmoid().sort(descending=True).values)


def test_better_slow_half_gets_a_say_that_grows_with_the_pictures():
    found = candidates(fast_is_right=False, slow_is_right=True)._replace(fast=torch.zeros(12))
    shares = []
    for n_pictures in (4, 8, 30):
        evidence = Evidence(n_labels=1)
        take(evidence, found, pictures=range(n_pictures))
        shares.append(float(evidence.share))
        boxes, _, _ = evidence.find(found, overlap=0.5)
        assert sorted(boxes[:3].tolist()) == sorted(TRUTH.tolist())
    assert 0 < shares[0] <= 4 / (4 + CAUTION)
    assert shares == sorted(shares)


def test_slow_half_that_is_no_better_gets_none():
    evidence = Evidence(n_labels=1)
    take(evidence, candidates(fast_is_right=True, slow_is_right=True), pictures=range(8))
    assert not evidence.trusts_slow
    take(evidence, candidates(fast_is_right=True, slow_is_right=False), pictures=range(8))
    assert not evidence.trusts_slow


def test_picture_tested_again_counts_as_it_is_now():
    evidence = Evidence(n_labels=1)
    undecided = candidates(fast_is_right=True, slow_is_right=True)._replace(fast=torch.zeros(12))
    take(evidence, undecided, pictures=range(8))
    assert evidence.trusts_slow
    take(evidence, candidates(fast_is_right=True, slow_is_right=False), pictures=range(8))
    assert not evidence.trusts_slow


def test_forgotten_pictures_do_not_count():
    undecided = candidates(fast_is_right=True, slow_is_right=True)._replace(fast=torch.zeros(12))
    evidence, expected = Evidence(n_labels=1), Evidence(n_labels=1)
    take(evidence, candidates(fast_is_right=True, slow_is_right=False), pictures=range(8))
    evidence.forget(torch.arange(8))
    for one in (evidence, expected):
        take(one, undecided, pictures=range(8, 16))
    assert evidence.trusts_slow
    assert torch.equal(evidence.share, expected.share)


def test_probabilities_approach_how_often_boxes_are_right():
    # Half of the boxes with this logit are right: it is lowered to even chances.
    evidence = Evidence(n_labels=1)
    found = candidates(fast_is_right=True, slow_is_right=True)
    found = found._replace(fast=torch.full((12,), 4.0))
    take(evidence, found, pictures=range(50), with_slow=False)
    _, chances, _ = evidence.find(found, overlap=0.5)
    torch.testing.assert_close(chances, torch.full((6,), 0.5), rtol=0, atol=0.05)


def area_by_hand(rows, n_objects):
    """Average precision of boxes (logit, label, right) of one label, by a loop."""
    rows = sorted(rows, key=lambda row: -row[0])
    precisions = []
    for rank in range(1, len(rows) + 1):
        precisions.append(sum(right for *_, right in rows[:rank]) / rank)
    found = [max(precisions[at:]) for at, row in enumerate(rows) if row[2]]
    return sum(found) / n_objects


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_average_precision_is_that_of_a_loop_also_without_each_picture(pictures, generator):
    n = sum(map(len, pictures))
    logits = iter(generator.sample(range(100), n))
    tables = [[(next(logits), *row) for row in rows] for rows in pictures]
    truths = [
        [sum(right and label == one for _, one, right in rows) + 1 for label in (0, 1)]
        for rows in tables
    ]
    outcomes = [
        _Outcome(
            torch.tensor([float(logit) for logit, _, _ in rows]),
            torch.tensor([label for _, label, _ in rows]),
            torch.tensor([right for *_, right in rows]),
        )
        for rows in tables
    ]
    found = average_precisions(outcomes, torch.tensor(truths))
    everything = range(len(tables))
    for choice, left_out in enumerate([None, *everything]):
        kept = [at for at in everything if at != left_out]
        expected = 0.0
        for label in (0, 1):
            rows = [row for at in kept for row in tables[at] if row[1] == label]
            n_objects = sum(truths[at][label] for at in kept)
            expected += area_by_hand(rows, n_objects) / 2 if n_objects else 0.0
        assert abs(float(found[choice]) - expected) < 1e-6


def test_evidence_of_two_pictures_is_not_enough():
    evidence = Evidence(n_labels=1)
    take(evidence, candidates(fast_is_right=False, slow_is_right=True), pictures=range(2))
    assert not evidence.trusts_slow


def test_gain_in_one_picture_of_many_does_not_count():
    evidence = Evidence(n_labels=1)
    take(evidence, candidates(fast_is_right=True, slow_is_right=True), pictures=range(7))
    take(evidence, candidates(fast_is_right=False, slow_is_right=True), pictures=[7])
    assert not evidence.trusts_slow
