import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.box_ops import box_areas, box_iou, suppress

# On a small grid, so that equal boxes, equal scores and boxes without area are common.
edges = st.integers(0, 6)
box_lists = st.lists(st.tuples(edges, edges, edges, edges), max_size=12)


def as_boxes(rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def count_cells(box):
    x0, y0, x1, y1 = box
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


def iou_of_cells(one, other):
    shared = len(count_cells(one) & count_cells(other))
    return shared / len(count_cells(one) | count_cells(other)) if shared else 0.0


@settings(deadline=None)
@given(box_lists, box_lists)
def test_overlaps_are_those_of_counted_cells(rows, others):
    expected = [[iou_of_cells(one, other) for other in others] for one in rows]
    found = box_iou(as_boxes(rows), as_boxes(others))
    torch.testing.assert_close(found, torch.tensor(expected).view(len(rows), len(others)))


@settings(deadline=None)
@given(box_lists)
def test_areas_are_those_of_counted_cells(rows):
    assert box_areas(as_boxes(rows)).tolist() == [len(count_cells(row)) for row in rows]


@settings(deadline=None)
@given(box_lists, st.data(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_keeps_what_a_loop_over_the_boxes_keeps(rows, data, overlap):
    of_each = {"min_size": len(rows), "max_size": len(rows)}
    scores = data.draw(st.lists(st.integers(0, 3), **of_each))
    groups = data.draw(st.lists(st.integers(0, 1), **of_each))
    kept = []
    for row in sorted(range(len(rows)), key=lambda row: -scores[row]):
        alike = [other for other in kept if groups[other] == groups[row]]
        if all(iou_of_cells(rows[row], rows[other]) <= overlap for other in alike):
            kept.append(row)
    found = suppress(
        as_boxes(rows),
        torch.tensor(scores, dtype=torch.float32),
        overlap=overlap,
        groups=torch.tensor(groups, dtype=torch.int64),
    )
    assert found.tolist() == kept


def test_box_suppressed_by_a_suppressed_box_stays():
    # Each covers the next by 3/5 and the one after by 2/6.
    boxes = as_boxes([(0, 0, 4, 1), (1, 0, 5, 1), (2, 0, 6, 1), (3, 0, 7, 1)])
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert suppress(boxes, scores, overlap=0.5).tolist() == [0, 2]


@pytest.mark.parametrize("groups", [None, torch.zeros(0, dtype=torch.int64)])
def test_no_boxes_are_suppressed_to_none(groups):
    assert suppress(as_boxes([]), torch.zeros(0), overlap=0.5, groups=groups).tolist() == []
