import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.box_ops import box_iou
from spacy_torch.nn.box_windows import VIEWS, edge_offsets, move_edges, read_box_windows

edges = st.floats(0, 90, width=32)
boxes_of_some_size = st.tuples(edges, edges, st.floats(1, 50), st.floats(1, 50))


def as_box(parts):
    x, y, width, height = parts
    return torch.tensor([x, y, x + width, y + height])


@settings(deadline=None)
@given(boxes_of_some_size, boxes_of_some_size)
def test_edges_move_to_where_the_offsets_say(one, other):
    window, box = as_box(one), as_box(other)
    found = move_edges(window, edge_offsets(window, box))
    torch.testing.assert_close(found, box, rtol=1e-4, atol=1e-3)


def test_every_view_of_a_box_covers_most_of_it():
    feature_map = torch.rand(3, 50, 50)
    boxes = torch.tensor([[20.0, 24.0, 50.0, 64.0], [60.0, 10.0, 80.0, 25.0]])
    windows = read_box_windows(feature_map, boxes, stride=2)
    assert windows.rows.shape == (2, len(VIEWS), 36)
    torch.testing.assert_close(windows.rows.norm(dim=2), torch.ones(2, len(VIEWS)))
    for box, offsets in zip(boxes, windows.offsets, strict=True):
        # The window from which a box is seen so: the inverse of `edge_offsets`.
        scale = 1 + offsets[:, 2:] - offsets[:, :2]
        sides = (box[2:] - box[:2]) / scale
        corner = box[:2] - offsets[:, :2] * sides
        overlaps = box_iou(torch.cat([corner, corner + sides], dim=1), box[None])[:, 0]
        assert overlaps[0] > 0.8
        assert overlaps.min() > 0.5


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.floats(0, 30, width=32)] * 4), max_size=4))
def test_boxes_at_the_edge_and_tiny_ones_are_read_like_any_other(corners):
    boxes = torch.tensor(corners).view(-1, 4)
    boxes = torch.cat([boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1)
    boxes[:, 2:] = (boxes[:, 2:] + 2).clamp(max=32)
    boxes[:, :2] = boxes[:, :2].clamp(max=30)
    windows = read_box_windows(torch.rand(2, 8, 8), boxes, stride=4)
    assert windows.rows.shape == (len(corners), len(VIEWS), 24)
    assert windows.rows.isfinite().all()
    assert windows.offsets.isfinite().all()


def test_what_is_read_of_a_box_does_not_depend_on_the_others():
    feature_map = torch.rand(3, 40, 40)
    boxes = torch.tensor([[10.0, 10.0, 40.0, 40.0], [30.0, 5.0, 60.0, 25.0]])
    together = read_box_windows(feature_map, boxes, stride=2)
    alone = read_box_windows(feature_map, boxes[1:], stride=2)
    assert torch.equal(together.rows[1:], alone.rows)
