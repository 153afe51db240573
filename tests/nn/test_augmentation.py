import pytest
import torch

from spacy_torch.nn.augmentation import Augmentation

# A ramp from left to right in red, from top to bottom in green.
RAMP = torch.zeros(64, 3, 20, 20, dtype=torch.uint8)
RAMP[:, 0] = 10 * torch.arange(20)
RAMP[:, 1] = 10 * torch.arange(20).unsqueeze(1)


def test_nothing_is_done_unless_it_is_asked_for():
    assert not Augmentation()
    assert torch.equal(Augmentation().draw(RAMP), RAMP)


def test_half_of_the_pictures_are_flipped_from_left_to_right():
    views = Augmentation(flip=True).draw(RAMP)
    flipped = (views[:, 0, 0, 0] == 190).tolist()
    assert 16 < sum(flipped) < 48
    for view, is_flipped in zip(views, flipped, strict=True):
        assert torch.equal(view, RAMP[0].flip(2) if is_flipped else RAMP[0])


def test_pictures_move_up_to_a_share_of_their_side_and_the_edge_goes_on():
    views = Augmentation(shift=0.25).draw(RAMP)
    # The ramp at the middle tells how far: ten levels a pixel.
    across = (views[:, 0, 10, 10].int() - 100) // 10
    down = (views[:, 1, 10, 10].int() - 100) // 10
    for moves in (across, down):
        assert int(moves.abs().max()) <= 5
        assert len(moves.unique()) > 5
    for view, x, y in zip(views, across.tolist(), down.tolist(), strict=True):
        assert torch.equal(view[0, 0].int(), 10 * (torch.arange(20) + x).clamp(0, 19).int())
        assert torch.equal(view[1, :, 0].int(), 10 * (torch.arange(20) + y).clamp(0, 19).int())


def test_zoom_changes_the_scale_about_the_middle():
    views = Augmentation(zoom=0.5).draw(RAMP)
    seen = (views[:, 0, 0, 19].int() - views[:, 0, 0, 0].int()) / 190
    assert float(seen.min()) < 0.7  # half of the picture fills the view, at most
    assert float(seen.min()) >= 0.45
    assert float(seen.max()) == 1.0  # more than all of it: the edge goes on


def test_colour_keeps_the_order_of_levels_and_their_range():
    views = Augmentation(colour=0.3).draw(RAMP)
    assert bool((views[:, 0, 0].int().diff(dim=1) >= 0).all())
    assert len(views[:, 0, 0, 10].unique()) > 20


def test_each_share_is_between_0_and_1():
    for name in ("shift", "zoom", "colour"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0 and less than 1, got 1.0"):
            Augmentation(**{name: 1.0})
