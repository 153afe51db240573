import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.heatmap_loss import (
    Heatmap,
    MovedHeatmap,
    _highest,
    draw_bumps,
    generalized_iou,
)
from spacy_torch.nn.picture_jitter import Jitter

STRIDE = 4
BOXES = torch.tensor([[4.0, 8.0, 20.0, 24.0], [20.0, 2.0, 30.0, 22.0], [8.0, 8.0, 24.0, 24.0]])


def still(n):
    return Jitter(torch.ones(n, 2), torch.zeros(n, 2))


def loss_of(heatmap, boxes, **given):
    n, n_pictures = len(boxes), len(heatmap.centres)
    defaults = {
        "labels": torch.zeros(n, dtype=torch.int64),
        "owners": torch.zeros(n, dtype=torch.int64),
        "verdicts": torch.ones(n, dtype=torch.int64),
        "is_complete": torch.ones(n_pictures, dtype=torch.bool),
        "is_used": torch.ones(n_pictures, dtype=torch.bool),
    }
    return MovedHeatmap(heatmap, still(n_pictures), STRIDE).loss(boxes, **{**defaults, **given})


def blank(n_pictures=1, n_labels=1):
    centres = torch.zeros(n_pictures, n_labels, 8, 8, requires_grad=True)
    return Heatmap(centres, torch.full((n_pictures, 4, 8, 8), 8.0, requires_grad=True))


def test_bump_is_one_at_the_point_of_the_centre_and_falls_from_there():
    bump = draw_bumps(BOXES[:1], torch.zeros(1, 4, 8, 8), stride=STRIDE)[0]
    assert bump[4, 3] == 1.0  # the centre is at 12, 16
    assert (bump == 1.0).sum() == 1
    assert bump[4, 4] < bump[4, 3]
    assert bump[4, 5] < bump[4, 4]


def test_heatmap_that_says_what_is_there_has_next_to_no_loss():
    centres = torch.full((1, 1, 8, 8), -12.0)
    centres[0, 0, 4, 3] = 12.0
    y, x = torch.meshgrid(*[(torch.arange(8.0) + 0.5) * STRIDE] * 2, indexing="ij")
    left, top, right, bottom = BOXES[0]
    sides = torch.stack([x - left, y - top, right - x, bottom - y])[None]
    assert loss_of(Heatmap(centres, sides), BOXES[:1]) < 1e-3
    assert loss_of(Heatmap(-centres, sides), BOXES[:1]) > 1.0
    assert loss_of(Heatmap(centres, sides + 5), BOXES[:1]) > 0.5


def test_picture_that_is_not_used_has_no_gradient():
    heatmap = blank(2)
    loss_of(
        heatmap, BOXES[:2], owners=torch.tensor([0, 1]), is_used=torch.tensor([True, False])
    ).backward()
    assert heatmap.centres.grad[0].abs().sum() > 0
    assert heatmap.centres.grad[1].abs().sum() == 0
    assert heatmap.sides.grad[1].abs().sum() == 0


def test_incomplete_picture_trains_only_near_its_boxes():
    heatmap = blank(n_labels=2)
    loss_of(
        heatmap,
        BOXES[:2],
        labels=torch.tensor([0, 1]),
        verdicts=torch.tensor([1, 0]),
        is_complete=torch.tensor([False]),
    ).backward()
    gradient = heatmap.centres.grad[0]
    assert gradient[0, 4, 3] < 0  # more of the label where it was accepted
    assert gradient[1, 3, 6] > 0  # less of the other where it was rejected
    assert gradient[0, 0, 0] == 0
    assert gradient[1, 4, 3] == 0


def test_pictures_without_boxes_have_a_loss_that_can_go_backward():
    heatmap = blank()
    loss_of(heatmap, BOXES[:0]).backward()
    assert heatmap.centres.grad.min() > 0


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3),
        ([0, 0, 1, 1], [3, 0, 4, 1], -0.5),  # apart: two of the hull's four are in neither
    ],
)
def test_generalized_iou_of_boxes_by_hand(box, other, expected):
    found = generalized_iou(torch.tensor([box]).float(), torch.tensor([other]).float())
    torch.testing.assert_close(found, torch.tensor([expected]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=9))
def test_highest_bumps_are_those_of_a_loop(maps):
    bumps = torch.rand(len(maps), 2, 3)
    expected = torch.zeros(4, 2, 3)
    for number, bump in zip(maps, bumps, strict=True):
        expected[number] = torch.maximum(expected[number], bump)
    found = _highest(bumps, torch.tensor(maps, dtype=torch.int64), n_maps=4)
    assert torch.equal(found, expected)
