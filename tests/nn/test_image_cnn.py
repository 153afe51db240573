import pytest
import torch

from spacy_torch.nn.image_cnn import ImageCNN


def draw_pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize(("side", "cells"), [(64, 8), (8, 1), (50, 7)])
def test_each_stage_halves_the_sides(side, cells):
    cnn = ImageCNN(width=16, depth=3)
    assert cnn(draw_pixels(2, 3, side, side)).shape == (2, 16, cells, cells)


def test_a_picture_is_read_alike_alone_and_among_others_also_while_training():
    cnn = ImageCNN(width=16, depth=2).train()
    pixels = draw_pixels(5, 3, 16, 16)
    torch.testing.assert_close(cnn(pixels)[2:3], cnn(pixels[2:3]))


def test_no_pictures_give_no_maps():
    assert ImageCNN(width=8, depth=1)(draw_pixels(0, 3, 8, 8)).shape == (0, 8, 4, 4)


def test_every_layer_learns():
    cnn = ImageCNN(width=16, depth=2)
    cnn(draw_pixels(2, 3, 16, 16)).square().sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in cnn.parameters())


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        ImageCNN(width=8, depth=0)
    with pytest.raises(ValueError, match="width must be a multiple of .* 4, .* got 6"):
        ImageCNN(width=6, depth=3)
