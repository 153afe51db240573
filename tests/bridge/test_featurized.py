"""What a featurizer gives reaches the module in the types it needs, and its gradient comes back."""

from typing import Any

import numpy
import pytest
import torch
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from spacy_torch.bridge.errors import ModuleOutputError
from spacy_torch.bridge.model import get_shim, run_tensors, wrap_module


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Returning(Net):
    returned: Any = None

    def forward(self, x: Tensor) -> Any:
        return type(self).returned(self.linear(x))


def build(module: Any, featurize: Any) -> Any:
    return wrap_module(module, name="net", featurize=featurize).initialize()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: ArgsKwargs((), {"x": x})])
def test_float64_of_numpy_becomes_the_type_of_the_parameters(dtype, wrap):
    model = build(lambda: Net(dtype), lambda X: wrap(numpy.array(X)))
    outputs, _ = run_tensors(model, [[0.5, 1.0, 2.0]], is_train=True)
    assert outputs.dtype == dtype


class Doubles(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.shift = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.dtype
        return self.linear((x + self.shift).float())


def test_float64_stays_where_a_parameter_is_float64():
    model = build(Doubles, numpy.array)
    model.predict([[0.5, 1.0, 2.0]])
    assert get_shim(model).module.seen == torch.float64


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.dtype
        return x.float()


@pytest.mark.parametrize(
    ("featurize", "expected"),
    [
        (numpy.array, torch.float32),  # torch's default, where no parameter says otherwise
        (lambda X: torch.tensor(X, dtype=torch.float64), torch.float64),
        (lambda X: numpy.array(X, dtype="int64"), torch.int64),
    ],
)
def test_tensors_and_integers_stay_what_they_are(featurize, expected):
    model = build(Plain, featurize)
    model.predict([[0.5, 1.0, 2.0]])
    assert get_shim(model).module.seen == expected


# The gradient ---------------------------------------------------------------------------


def no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


@pytest.mark.parametrize(
    "returned",
    [
        lambda x: x.detach(),
        no_grad,
        lambda x: nn.functional.one_hot(x.argmax(1), 2).float(),
        lambda x: {"logits": x.detach(), "n": 3},
    ],
)
def test_output_without_a_gradient_is_refused_in_an_update_only(returned, monkeypatch):
    monkeypatch.setattr(Returning, "returned", returned)
    model = build(Returning, lambda X: numpy.array(X, dtype="f"))
    model.predict([[0.5, 1.0, 2.0]])
    message = r"net: the module Returning has parameters to train, but what .* avoid detach\(\)"
    with pytest.raises(ModuleOutputError, match=message):
        model.begin_update([[0.5, 1.0, 2.0]])


@pytest.mark.parametrize("returned", [lambda x: (x.detach(), x), lambda x: x[:0].detach()])
def test_output_with_one_gradient_or_no_numbers_is_legal(returned, monkeypatch):
    monkeypatch.setattr(Returning, "returned", returned)
    build(Returning, lambda X: numpy.array(X, dtype="f")).begin_update([[0.5, 1.0, 2.0]])


def test_frozen_module_needs_no_gradient():
    def build_frozen() -> nn.Module:
        return Net().requires_grad_(False)

    model = build(build_frozen, lambda X: numpy.array(X, dtype="f"))
    model.begin_update([[0.5, 1.0, 2.0]])


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (Net(), "net: expected a builder .*is a Net already: pass the class itself or a function"),
        (None, "net: expected a builder .*that returns an nn.Module, got None"),
    ],
)
def test_module_is_wrapped_by_its_builder(builder, message):
    with pytest.raises(TypeError, match=message):
        wrap_module(builder, name="net")
