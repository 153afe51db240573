"""The wrapper: a Thinc `Model` whose work is done by a torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from thinc.api import Model, Ops
from thinc.types import ArgsKwargs, Ints1d, Padded, Ragged
from torch import Tensor

from spacy_torch.bridge.arrays import as_call, call_from_thinc, to_arrays, to_tensors
from spacy_torch.bridge.building import ModuleBuilder, check_builder
from spacy_torch.bridge.runtime import Runtime, check_runtime
from spacy_torch.bridge.shim import Backprop, TorchShim
from spacy_torch.bridge.tree import map_leaves

InT = TypeVar("InT")
OutT = TypeVar("OutT")

Measure = Callable[[Any, Any], Mapping[str, Any]]
Featurize = Callable[..., Any]
Collect = Callable[[Any, Any, Ops], tuple[Any, Backprop]]
Check = Callable[[Any, Any, Mapping[str, Any]], None]


def wrap_module(
    build: ModuleBuilder,
    *,
    name: str = "torch",
    featurize: Featurize | None = None,
    collect: Collect | None = None,
    check: Check | None = None,
    measure: Measure | None = None,
    upstream: Model[Any, Any] | None = None,
    runtime: Runtime | Mapping[str, Any] | None = None,
    width: int | None = None,
    skip_empty: str | None = None,
) -> Model[Any, Any]:
    """A Thinc model that featurizes its input, calls a torch module, collects the output.

    Args:
        build: builds the module from keyword sizes.
        name: the model's name, used in errors.
        featurize: input -> the batch for the module: one argument (any nest of arrays
            and tensors), or an `ArgsKwargs`. NumPy arrays of float64 are cast to the
            type of the module's parameters, unless one of these is float64. With
            `upstream`, it is called with the input and the upstream output as
            `(values, lengths)` tensors. Without a `featurize`,
            Thinc arrays are passed on as `arrays.call_from_thinc` says, and float
            arrays receive gradients.
        collect: `(input, outputs, ops) -> (model output, callback)`; the callback turns
            the gradient of the model output into the gradients of the outputs. Without
            it, tensors become arrays.
        check: `(input, outputs, sizes)`, raises when the module returned something else
            than its users need.
        measure: `(X, Y) -> sizes` at initialization, where either may be None.
        upstream: a Thinc model from the same input to `list[Floats2d]`, run first and
            trained along.
        runtime: device, precision and reaction to NaN; a mapping of `Runtime`'s settings
            will do.
        width: the model's output width, if it is known before the data.
        skip_empty: spare the module documents without tokens; their output is a row of
            zeros, as wide as the size of this name.

    Raises:
        TypeError: `build` is a module already, or nothing that can build one, or `runtime`
            has an unknown setting.
    """
    check_builder(build, name=name)
    shim = TorchShim(build, name=name, runtime=check_runtime(runtime))
    return Model(
        name,
        _forward,
        init=_init,
        layers=[] if upstream is None else [upstream],
        shims=[shim],
        # A featurizer reads documents, which have no width that Thinc could ask them for.
        dims={"nO": width, "nI": None} if featurize is None else {"nO": width},
        attrs={
            "featurize": featurize,
            "collect": collect,
            "check": check,
            "measure": measure,
            "skip_empty": skip_empty,
            # Thinc's set_dropout_rate finds this attribute; None: leave the module alone.
            "dropout_rate": None,
        },
    )


def get_shim(model: Model[Any, Any]) -> TorchShim:
    """The shim of a wrapped module.

    Raises:
        TypeError: the model wraps no torch module.
    """
    shim = model.shims[0] if model.shims else None
    if not isinstance(shim, TorchShim):
        raise TypeError(f"The model {model.name!r} is not a wrapped torch module")
    return shim


def find_shims(model: Model[Any, Any]) -> list[TorchShim]:
    """Every torch module's shim in a model, in the order of `model.walk()`, each once."""
    return list({id(shim): shim for shim in map(get_shim, find_wrapped(model))}.values())


def find_wrapped(model: Model[Any, Any]) -> list[Model[Any, Any]]:
    """Every model in a model that wraps a torch module, in the order of `model.walk()`."""
    nodes = cast("Iterable[Model[Any, Any]]", model.walk())  # pyright: ignore[reportUnknownMemberType]
    return [node for node in nodes if node.shims and isinstance(node.shims[0], TorchShim)]


def run_tensors(model: Model[Any, Any], X: Any, *, is_train: bool) -> tuple[Any, Backprop]:
    """The outputs of a wrapped module as tensors that never leave its device.

    Args:
        model: a model made by `wrap_module`.
        X: its input.
        is_train: whether a backward pass follows.

    Returns:
        The outputs, detached from nothing, and a callback that takes their gradients as
        tensors in the same structure and returns the gradient of the input.
    """
    if model.attrs["skip_empty"] is not None and not all(len(item) for item in X):
        return _run_without_empty(model, X, is_train)
    shim = get_shim(model)
    if is_train and model.attrs["dropout_rate"] is not None:
        shim.set_dropout(model.attrs["dropout_rate"])
    upstream = _find_upstream(model)
    if upstream is not None:
        outputs, backprop = _run_behind(upstream, model, X, is_train)
    elif model.attrs["featurize"] is not None:
        batch = shim.take_batch(model.attrs["featurize"](X))
        outputs, backprop = shim(as_call(batch), is_train)
    else:
        call = to_tensors(call_from_thinc(X), shim.device)
        outputs, backprop = shim(
            map_leaves(_require_gradient, call) if is_train else call, is_train
        )
    if model.attrs["check"] is not None:
        model.attrs["check"](X, outputs, shim.sizes)
    if is_train:
        shim.check_gradient(outputs)
    return outputs, backprop


def draw_tensors(model: Model[Any, Any], X: Any, *, n_draws: int) -> list[Any]:
    """The outputs of a wrapped module several times, as dropout makes them, without a graph.

    Args:
        model: a model made by `wrap_module`, with a `featurize` and without an upstream.
        X: its input, without empty items.
        n_draws: how many times.
    """
    shim = get_shim(model)
    if model.attrs["dropout_rate"] is not None:
        shim.set_dropout(model.attrs["dropout_rate"])
    call = as_call(shim.take_batch(model.attrs["featurize"](X)))
    return [shim.draw(call) for _ in range(n_draws)]


def _run_without_empty(model: Model[Any, Any], X: Any, is_train: bool) -> tuple[Any, Backprop]:
    """Run the items that are not empty; the others get a row of zeros."""
    places = [place for place, item in enumerate(X) if len(item)]
    device = get_shim(model).device
    if not places:
        width = get_shim(model).sizes[model.attrs["skip_empty"]]
        return torch.zeros(len(X), width, device=device), lambda d_outputs: None
    rows, backprop = run_tensors(model, [X[place] for place in places], is_train=is_train)
    index = torch.tensor(places, device=device)
    outputs = rows.new_zeros(len(X), *rows.shape[1:]).index_copy(0, index, rows)
    return outputs, lambda d_outputs: backprop(d_outputs.index_select(0, index))


def _find_upstream(model: Model[Any, Any]) -> Model[Any, Any] | None:
    layers = cast("list[Model[Any, Any]]", model.layers)  # pyright: ignore[reportUnknownMemberType]
    return layers[0] if layers else None


def _run_behind(
    upstream: Model[Any, Any], model: Model[Any, Any], X: Any, is_train: bool
) -> tuple[Any, Backprop]:
    shim = get_shim(model)
    vectors, backprop_upstream = _call_upstream(upstream, X, is_train)
    lengths = [len(rows) for rows in vectors]
    width = upstream.get_dim("nO")
    # Thinc makes an array without columns of no arrays at all.
    flat: Any = model.ops.flatten(vectors)
    values = to_tensors(flat.reshape(-1, width), shim.device)
    values.requires_grad_(is_train)
    # A view: the values themselves, handed on as they are, would look like an input of
    # the module, whose gradient the shim takes away.
    vectors_of_batch = (
        values.view_as(values),
        torch.tensor(lengths, dtype=torch.int64, device=shim.device),
    )
    batch = model.attrs["featurize"](X, vectors_of_batch)
    outputs, backprop_module = shim(as_call(shim.take_batch(batch)), is_train)

    def backprop(d_outputs: Any) -> Any:
        backprop_module(d_outputs)
        d_values = shim.take_gradient(values)
        if d_values is None:
            d_values = torch.zeros_like(values)
        d_vectors = to_arrays(d_values, model.ops)
        return backprop_upstream(model.ops.unflatten(d_vectors, cast("Ints1d", lengths)))

    return outputs, backprop


def _call_upstream(upstream: Model[Any, Any], X: Any, is_train: bool) -> tuple[list[Any], Backprop]:
    """Spare the upstream model a batch without any rows, on which Thinc's layers fail."""
    if any(len(item) for item in X):
        return cast("tuple[list[Any], Backprop]", upstream(X, is_train))
    nothing: list[Any] = [upstream.ops.alloc2f(0, upstream.get_dim("nO")) for _ in X]
    return nothing, lambda d_vectors: None


def _forward(model: Model[InT, OutT], X: InT, is_train: bool) -> tuple[OutT, Backprop]:
    outputs, backprop_tensors = run_tensors(model, X, is_train=is_train)
    collect: Collect = model.attrs["collect"] or _collect_arrays
    Y, spread = collect(X, outputs, model.ops)

    def backprop(dY: Any) -> Any:
        d_outputs = to_tensors(spread(dY), get_shim(model).device)
        d_inputs = backprop_tensors(d_outputs)
        if model.attrs["featurize"] is not None:
            # Documents have none. Thinc's layers say so with a list, to which `tuplify` adds.
            return []
        return _restore_input(X, d_inputs, model.ops)

    return cast(OutT, Y), backprop


def _init(model: Model[InT, OutT], X: Any = None, Y: Any = None) -> None:
    upstream = _find_upstream(model)
    if upstream is not None:
        upstream.initialize(X)  # pyright: ignore[reportUnknownMemberType]
    measure: Measure | None = model.attrs["measure"]
    get_shim(model).initialize(measure(X, Y) if measure is not None else {})


def _collect_arrays(X: Any, outputs: Any, ops: Ops) -> tuple[Any, Backprop]:
    Y = to_arrays(outputs, ops)
    if isinstance(X, Ragged) and isinstance(outputs, Tensor):
        return Ragged(Y, X.lengths), lambda dY: dY.dataXd
    if isinstance(X, Padded) and isinstance(outputs, Tensor):
        return Padded(Y, X.size_at_t, X.lengths, X.indices), lambda dY: dY.data
    return Y, lambda dY: dY


def _require_gradient(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.detach().requires_grad_()
    return leaf


def _restore_input(X: Any, d_inputs: Any, ops: Ops) -> Any:
    """The gradient of the input in the shape that the input had."""
    if not isinstance(d_inputs, ArgsKwargs):
        return d_inputs
    arrays = to_arrays(d_inputs, ops)
    if isinstance(X, Ragged):
        return Ragged(arrays.args[0], X.lengths)
    if isinstance(X, Padded):
        return Padded(arrays.args[0], X.size_at_t, X.lengths, X.indices)
    if isinstance(X, ArgsKwargs):
        return arrays
    if isinstance(X, tuple):
        return tuple(arrays.args)
    if isinstance(X, dict):
        return dict(arrays.kwargs)
    return arrays.args[0]
