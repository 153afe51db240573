"""What every registered image encoder does, whatever reads its maps.

A new one needs an entry in `SMALL`, and nothing else here.
"""

import inspect
import math
from importlib.metadata import distribution
from typing import Any

import pytest
import spacy
import torch
from thinc.api import Model
from torch import nn

from spacy_torch.architectures.image_encoder import ImageEncoder, check_image_encoder
from spacy_torch.architectures.text_classifier import build_text_classifier
from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.registry import encoders

NAMES = sorted(
    point.name
    for point in distribution("spacy-torch").entry_points
    if point.group == "torch_encoders"
    and inspect.signature(encoders.get(point.name)).return_annotation == "ImageEncoder"
)


class TinyNetwork(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())


SMALL: dict[str, dict[str, Any]] = {
    "spacy-torch.ImageCNN.v1": {"size": 32, "width": 16, "depth": 2},
    "spacy-torch.PatchDictionary.v1": {"size": 32, "width": 20},
    "spacy-torch.EfficientNetLite.v1": {"size": 64},
    "spacy-torch.ImageModule.v1": {"module": TinyNetwork, "width": 8, "size": 32, "stride": 4},
}


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest) -> ImageEncoder:
    assert request.param in SMALL, f"{request.param} is registered, but not tested here"
    return encoders.get(request.param)(**SMALL[request.param])


def make_model(encoder: ImageEncoder) -> Model[Any, Any]:
    """The encoder alone behind Thinc, which is given pixels as they are."""
    model = wrap_module(encoder.build, featurize=torch.as_tensor)
    model.initialize()
    module = get_shim(model).module
    if hasattr(module, "learn_pool"):
        module.learn_pool([draw_pixels(20, encoder.size)])
    return model


def draw_pixels(n: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8)


def test_map_has_the_declared_width_and_a_cell_for_each_stride(encoder):
    model = make_model(encoder)
    for side in (encoder.size, 2 * encoder.size, encoder.size + 3):
        cells = math.ceil(side / encoder.stride)
        found = model.predict(draw_pixels(2, side))
        assert found.shape == (2, encoder.width, cells, cells)
        assert found.dtype == "float32"


def test_neighbours_in_a_batch_change_nothing(encoder):
    model = make_model(encoder)
    pixels = draw_pixels(5, encoder.size)
    together, alone = model.predict(pixels), model.predict(pixels[3:4])
    torch.testing.assert_close(*map(torch.as_tensor, (together[3:4], alone)), atol=1e-4, rtol=1e-4)
    assert model.predict(pixels[:0]).shape == (0, *together.shape[1:])


def test_weights_come_back(encoder):
    model, other = make_model(encoder), wrap_module(encoder.build, featurize=torch.as_tensor)
    pixels = draw_pixels(2, encoder.size)
    other.from_bytes(model.to_bytes())
    torch.testing.assert_close(*(torch.as_tensor(each.predict(pixels)) for each in (other, model)))


def test_only_an_encoder_that_is_not_frozen_learns_by_gradient(encoder):
    shim = get_shim(make_model(encoder))
    learns = any(parameter.requires_grad for parameter in shim.module.parameters())
    assert learns is not encoder.is_frozen


def test_every_entry_is_of_a_registered_encoder():
    assert sorted(SMALL) == NAMES


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="size, width and stride must be at least 1, got 8, 0"):
        ImageEncoder(TinyNetwork, size=8, width=0, stride=4, is_frozen=False)


def test_image_encoder_where_tokens_are_read_is_refused():
    encoder = encoders.get("spacy-torch.ImageCNN.v1")()
    with pytest.raises(TypeError, match="got an ImageEncoder, which reads pixels: use one that"):
        build_text_classifier(encoder, exclusive_classes=True)
    with pytest.raises(AttributeError, match="An ImageEncoder has no 'has_dim'"):
        encoder.has_dim("nO")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (encoders.get("spacy-torch.HashEmbedCNN.v1")(), "an Encoder, which reads tokens: use one"),
        (TinyNetwork(), r"a TinyNetwork \(a torch module\): wrap it with .*ImageModule"),
        (TinyNetwork, "the class TinyNetwork: wrap it with .*ImageModule"),
        (Model("thing", lambda: None), "the Thinc model 'thing'.*: register a function"),
        (None, "None: end the function that builds it with `return ImageEncoder"),
        (3, "a int: register a function"),
    ],
)
def test_something_else_than_an_image_encoder_is_refused(given, message):
    with pytest.raises(
        TypeError, match=f"Head.v1: the encoder must be an ImageEncoder, .*{message}"
    ):
        check_image_encoder(given, name="Head.v1")


def test_module_that_exists_already_is_refused():
    with pytest.raises(TypeError, match="it is a TinyNetwork already"):
        encoders.get("spacy-torch.ImageModule.v1")(TinyNetwork(), width=8)


def test_config_may_name_an_image_encoder():
    block = {"encoder": {"@torch_encoders": "spacy-torch.PatchDictionary.v1", "width": 7}}
    assert spacy.registry.resolve(block)["encoder"].width == 7
