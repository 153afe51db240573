import pytest
import torch
from torch import nn

from spacy_torch.nn.image_module import ImageModule

PIXELS = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)


def make_module(module: nn.Module, **settings: object) -> ImageModule:
    defaults = {"width": 4, "mean": [0.5, 0.4, 0.3], "deviation": [0.2, 0.5, 1.0], "freeze": True}
    return ImageModule(module, **{**defaults, **settings})


class Returns(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, pixels: torch.Tensor) -> object:
        return self.value


def test_pixels_are_scaled_as_torchvision_does_it():
    found = make_module(nn.Identity(), width=3)(PIXELS)
    from_0_to_1 = PIXELS.float() / 255
    for channel, (mean, deviation) in enumerate([(0.5, 0.2), (0.4, 0.5), (0.3, 1.0)]):
        expected = (from_0_to_1[:, channel] - mean) / deviation
        torch.testing.assert_close(found[:, channel], expected)


def test_vectors_become_maps_of_one_cell():
    vectors = torch.randn(2, 4)
    torch.testing.assert_close(make_module(Returns(vectors))(PIXELS)[:, :, 0, 0], vectors)


def test_frozen_module_does_not_learn_nor_leave_evaluation_mode():
    frozen = make_module(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    before = frozen.eval()(PIXELS)
    torch.testing.assert_close(frozen.train()(PIXELS), before)
    assert not before.requires_grad
    assert make_module(nn.Conv2d(3, 4, 1), freeze=False).train()(PIXELS).requires_grad


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"features": 1}, TypeError, "it returned a dict: return the features before"),
        (torch.zeros(2, 4, dtype=torch.int64), TypeError, "it returned a Tensor"),
        (torch.zeros(2, 5), ValueError, r"\(2, 4\).* the shape \(2, 5\): set width to"),
        (torch.zeros(2, 7, 4), ValueError, r"the shape \(2, 7, 4\): .* turn tokens"),
    ],
)
def test_something_else_than_a_map_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        make_module(Returns(value))(PIXELS)


def test_impossible_scaling_is_refused():
    with pytest.raises(ValueError, match="mean and deviation must be three numbers"):
        make_module(nn.Identity(), mean=[0.5])
    with pytest.raises(ValueError, match="deviations above 0"):
        make_module(nn.Identity(), deviation=[0.5, 0.5, 0.0])
