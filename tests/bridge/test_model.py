"""Any module signature: what goes in and out, and the same gradients as Thinc's own wrapper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from thinc.api import SGD, Linear, Model, PyTorchWrapper_v3, Ragged, chain
from thinc.types import ArgsKwargs, Padded
from torch import Tensor, nn

from spacy_torch.bridge.model import find_shims, get_shim, run_tensors, wrap_module


class Scores(NamedTuple):
    scores: Any
    hidden: Any


@dataclass
class Named:
    scores: Any
    n_rows: int
    hidden: Any


class Net(nn.Module):
    """A linear layer with a call and an output of any shape."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.embed = nn.Embedding(5, 3)
        self.call = call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(self, *args, **kwargs)


def build_model(call: Callable[..., Any]) -> Model[Any, Any]:
    model = wrap_module(lambda: Net(call), name="net")
    model.initialize()
    return model


def thinc_twin(model: Model[Any, Any]) -> Model[Any, Any]:
    """The same module, weights included, in Thinc's own wrapper."""
    module = get_shim(model).module
    twin = Net(module.call)
    twin.load_state_dict(module.state_dict())
    return PyTorchWrapper_v3(twin)


def gradients(module: nn.Module) -> dict[str, numpy.ndarray]:
    return {n: p.grad.numpy().copy() for n, p in module.named_parameters() if p.grad is not None}


def floats(*shape: int) -> numpy.ndarray:
    return torch.randn(*shape).numpy()


def assert_equal(left: Any, right: Any) -> None:
    numpy.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "X"),
    [
        (lambda net, x: net.linear(x), floats(4, 3)),
        (lambda net, x, y: net.linear(x * y), (floats(4, 3), floats(4, 3))),
        (lambda net, x, shift: net.linear(x) + shift, {"x": floats(4, 3), "shift": floats(4, 2)}),
        (
            lambda net, x, shift: net.linear(x) + shift,
            ArgsKwargs((floats(4, 3),), {"shift": floats(4, 2)}),
        ),
    ],
    ids=["array", "several", "keywords", "both"],
)
def test_outputs_and_gradients_are_those_of_thincs_wrapper(call, X):
    model = build_model(call)
    twin = thinc_twin(model)
    dY = floats(4, 2)
    Y, backprop = model.begin_update(X)
    Y_twin, backprop_twin = twin.begin_update(X)
    assert_equal(Y, Y_twin)
    dX, dX_twin = backprop(dY), backprop_twin(dY)
    assert type(dX) is type(dX_twin)
    for part, part_twin in zip(_parts(dX), _parts(dX_twin), strict=True):
        assert_equal(part, part_twin)
    ours, theirs = gradients(get_shim(model).module), gradients(twin.shims[0]._model)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_equal(ours[name], theirs[name])


def _parts(tree: Any) -> list[numpy.ndarray]:
    if isinstance(tree, ArgsKwargs):
        return [*tree.args, *tree.kwargs.values()]
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool", "uint8"])
def test_inputs_that_are_not_floats_go_in_and_get_no_gradient(dtype):
    ids = numpy.array([0, 1, 1]).astype(dtype)
    model = build_model(lambda net, x: net.linear(net.embed(x.long())))
    Y, backprop = model.begin_update(ids)
    assert Y.shape == (3, 2)
    assert backprop(numpy.ones_like(Y)) is None
    assert get_shim(model).module.embed.weight.grad[2].tolist() == [0.0, 0.0, 0.0]
    assert get_shim(model).module.embed.weight.grad[1].abs().sum() > 0


def test_only_the_float_input_of_several_gets_a_gradient():
    model = build_model(lambda net, ids, x: net.linear(net.embed(ids) * x))
    X = (numpy.array([0, 1]), floats(2, 3))
    _, backprop = model.begin_update(X)
    d_ids, dX = backprop(floats(2, 2))
    assert d_ids is None
    assert dX.shape == (2, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_module_gives_and_takes_float32_arrays(dtype):
    model = wrap_module(lambda: nn.Linear(3, 2, dtype=dtype), featurize=torch.as_tensor)
    model.initialize()
    X = torch.ones(4, 3, dtype=dtype)
    Y, backprop = model.begin_update(X)
    assert Y.dtype == numpy.float32
    backprop(numpy.ones_like(Y))
    assert get_shim(model).module.bias.grad.tolist() == [4.0, 4.0]
    assert get_shim(model).module.bias.grad.dtype == dtype


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda scores, hidden: (scores, hidden), tuple),
        (lambda scores, hidden: [scores, hidden], tuple),
        (Scores, tuple),
        (lambda scores, hidden: {"s": scores, "h": hidden}, lambda Y: tuple(Y.values())),
        (lambda scores, hidden: Named(scores, 4, hidden), lambda Y: (Y.scores, Y.hidden)),
    ],
    ids=["tuple", "list", "namedtuple", "dict", "dataclass"],
)
def test_outputs_keep_their_structure_and_so_do_their_gradients(wrap, unwrap):
    model = build_model(lambda net, x: wrap(net.linear(x), 2 * x))
    X = floats(4, 3)
    Y, backprop = model.begin_update(X)
    assert type(Y) is type(wrap(X, X))
    scores, hidden = unwrap(Y)
    assert_equal(hidden, 2 * X)
    dX = backprop(wrap(numpy.ones_like(scores), numpy.ones_like(hidden)))
    weight = get_shim(model).module.linear.weight.detach().numpy()
    assert_equal(dX, numpy.broadcast_to(weight.sum(0) + 2, (4, 3)))


def test_gradients_in_a_dict_of_another_order_meet_their_outputs():
    model = build_model(lambda net, x: {"once": x, "thrice": 3 * x})
    _, backprop = model.begin_update(floats(2, 3))
    dX = backprop({"thrice": numpy.ones((2, 3), "f"), "once": numpy.zeros((2, 3), "f")})
    assert (dX == 3).all()


def test_output_without_a_gradient_may_be_none():
    model = wrap_module(lambda: nn.LSTM(3, 2))
    model.initialize()
    X = floats(4, 1, 3)
    (out, _), backprop = model.begin_update(X)
    assert backprop((numpy.ones_like(out), None)).shape == X.shape


def test_gradient_of_another_structure_is_refused():
    model = build_model(lambda net, x: (net.linear(x), x))
    _, backprop = model.begin_update(floats(2, 3))
    with pytest.raises(ValueError, match="The gradient must have the structure of the output"):
        backprop(floats(2, 2))


def test_ragged_comes_back_ragged():
    model = build_model(lambda net, values, lengths: net.linear(values))
    X = Ragged(floats(5, 3), numpy.array([2, 0, 3], dtype="i"))
    Y, backprop = model.begin_update(X)
    assert isinstance(Y, Ragged)
    assert Y.lengths.tolist() == [2, 0, 3]
    dX = backprop(Ragged(numpy.ones((5, 2), "f"), X.lengths))
    assert isinstance(dX, Ragged)
    assert dX.dataXd.shape == (5, 3)


def test_padded_comes_back_padded():
    model = build_model(lambda net, values, lengths: net.linear(values))
    X = model.ops.list2padded([floats(2, 3), floats(3, 3)])
    Y, backprop = model.begin_update(X)
    assert isinstance(Y, Padded)
    assert [rows.shape for rows in model.ops.padded2list(Y)] == [(2, 2), (3, 2)]
    dX = backprop(Y)
    assert isinstance(dX, Padded)
    assert dX.data.shape == X.data.shape


def test_list_goes_in_and_out():
    model = build_model(lambda net, rows: [net.linear(row) for row in rows])
    X = [floats(2, 3), floats(1, 3)]
    Y, backprop = model.begin_update(X)
    assert [row.shape for row in Y] == [(2, 2), (1, 2)]
    assert [row.shape for row in backprop(Y)] == [(2, 3), (1, 3)]


def test_read_only_and_reversed_arrays_are_inputs_too():
    model = build_model(lambda net, x: net.linear(x))
    X = floats(4, 3)
    Y = model.predict(X)
    X.flags.writeable = False
    assert_equal(model.predict(X), Y)
    assert_equal(model.predict(X[::-1]), Y[::-1])


def test_thinc_layer_before_the_module_gets_its_gradient():
    X, dY = floats(4, 5), floats(4, 2)
    before, module = Linear(3, 5), build_model(lambda net, x: net.linear(x))
    pure_before, pure = Linear(3, 5), Linear(2, 3)
    model, twin = chain(before, module), chain(pure_before, pure)
    before.initialize()
    pure_before.set_param("W", before.get_param("W").copy())
    pure_before.set_param("b", before.get_param("b").copy())
    pure.set_param("W", get_shim(module).module.linear.weight.detach().numpy().copy())
    pure.set_param("b", get_shim(module).module.linear.bias.detach().numpy().copy())
    for each in (model, twin):
        _, backprop = each.begin_update(X)
        backprop(dY)
        each.finish_update(SGD(0.1))
    assert_equal(before.get_param("W"), pure_before.get_param("W"))
    assert_equal(get_shim(module).module.linear.weight.detach().numpy(), pure.get_param("W"))
    assert_equal(model.predict(X), twin.predict(X))


def test_tensors_need_not_leave_the_device():
    model = build_model(lambda net, x: net.linear(x))
    outputs, backprop = run_tensors(model, floats(4, 3), is_train=True)
    assert isinstance(outputs, Tensor)
    assert backprop(torch.ones(4, 2)).args[0].shape == (4, 3)


def test_prediction_keeps_no_graph():
    outputs, _ = run_tensors(
        build_model(lambda net, x: net.linear(x)), floats(4, 3), is_train=False
    )
    assert not outputs.requires_grad


def test_module_without_parameters_trains_what_lies_before_it():
    model = chain(Linear(3, 5), wrap_module(nn.Tanh))
    model.initialize(X=floats(2, 5))
    before = model.layers[0].get_param("W").copy()
    Y, backprop = model.begin_update(floats(2, 5))
    backprop(numpy.ones_like(Y))
    model.finish_update(SGD(0.1))
    assert not numpy.allclose(model.layers[0].get_param("W"), before)


def test_shims_are_found_once_each():
    module = wrap_module(nn.Identity)
    assert find_shims(chain(module, module)) == [get_shim(module)]
    assert find_shims(Linear(1, 1)) == []


def test_shim_of_another_model_is_refused():
    with pytest.raises(TypeError, match="'linear' is not a wrapped torch module"):
        get_shim(Linear(1, 1))


def test_module_that_does_not_exist_yet_says_what_to_call():
    model = wrap_module(nn.Identity, name="mine")
    with pytest.raises(RuntimeError, match=r"'mine' does not exist yet: call initialize\(\) or"):
        model.predict(floats(1, 1))
