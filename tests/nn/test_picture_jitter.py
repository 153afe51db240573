import pytest
import torch

from spacy_torch.nn.picture_jitter import jitter_pictures


def bright_box(picture):
    """Where a picture is bright, as left, top, right, bottom."""
    rows, columns = (picture[0] > 180).nonzero(as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_boxes_go_where_their_pictures_go(flips):
    pixels = torch.full((12, 3, 64, 64), 100, dtype=torch.uint8)
    pixels[:, :, 20:32, 16:40] = 255
    boxes = torch.tensor([[16.0, 20.0, 40.0, 32.0]]).expand(12, 4)
    moved, jitter = jitter_pictures(pixels, extent=0.2, flips=flips)
    found = torch.stack([bright_box(picture) for picture in moved])
    torch.testing.assert_close(jitter.move(boxes, torch.arange(12)), found, rtol=0, atol=1.5)
    mirrored = (jitter.scale < 0).any(0).tolist()
    assert mirrored == {"none": [False] * 2, "horizontal": [True, False], "both": [True] * 2}[flips]


def test_no_jitter_leaves_pictures_as_they_are():
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    moved, jitter = jitter_pictures(pixels, extent=0.0, flips="none")
    assert torch.equal(moved, pixels)
    boxes = torch.tensor([[1.0, 2.0, 5.0, 9.0]])
    torch.testing.assert_close(jitter.move(boxes, torch.tensor([1])), boxes)
