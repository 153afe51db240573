"""ONNX operators in torch, as of operator set 13: those that classifiers and encoders use.

Each takes its inputs, None for one that is left out, and its attributes, and gives its output or
a tuple of them. The definitions are those of https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = list[Any]
Attributes = Mapping[str, Any]
Operator = Callable[[Inputs, Attributes], Any]

# The types that `Cast` counts through.
_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _numbers(value: Any) -> list[int]:
    """What says a shape or axes: a tensor of integers, or an attribute."""
    return cast("list[int]", value.tolist() if isinstance(value, Tensor) else list(value))  # pyright: ignore[reportUnknownMemberType]


def _together(inputs: Inputs) -> list[Tensor]:
    """Tensors on one device: what is part of the structure lies on the CPU."""
    devices = {tensor.device for tensor in inputs if tensor.device.type != "cpu"}
    return [tensor.to(next(iter(devices))) for tensor in inputs] if devices else inputs


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: function(*_together(inputs))


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: reduce(function, _together(inputs))


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, attributes: function(inputs[0])


def _divide(left: Tensor, right: Tensor) -> Tensor:
    if left.is_floating_point():
        return left / right
    return torch.div(left, right, rounding_mode="trunc")


def _gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    left, right, *rest = inputs
    left = left.t() if attributes.get("transA") else left
    right = right.t() if attributes.get("transB") else right
    product = attributes.get("alpha", 1.0) * (left @ right)
    return (
        product + attributes.get("beta", 1.0) * rest[0] if rest and rest[0] is not None else product
    )


def _reduce(name: str) -> Operator:
    function = {"Mean": torch.mean, "Sum": torch.sum, "Max": torch.amax, "Min": torch.amin}[name]

    def run(inputs: Inputs, attributes: Attributes) -> Tensor:
        given = inputs[1] if len(inputs) > 1 else attributes.get("axes")
        axes = [] if given is None else _numbers(given)
        if not axes and attributes.get("noop_with_empty_axes"):
            return inputs[0]
        axes = axes or list(range(inputs[0].ndim))
        return cast("Any", function)(inputs[0], axes, keepdim=bool(attributes.get("keepdims", 1)))

    return run


def _layer_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, weight, *rest = inputs
    shape = values.shape[attributes.get("axis", -1) :]
    bias = rest[0] if rest else None
    return F.layer_norm(values, shape, weight, bias, attributes.get("epsilon", 1e-5))


def _batch_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, weight, bias, mean, variance = inputs
    return F.batch_norm(
        values, mean, variance, weight, bias, False, 0.0, attributes.get("epsilon", 1e-5)
    )


def _gather(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, index = _together(inputs)
    axis = attributes.get("axis", 0) % values.ndim
    index = torch.where(index < 0, index + values.shape[axis], index)  # pyright: ignore[reportUnknownArgumentType]
    found = values.index_select(axis, index.reshape(-1))
    return found.reshape([*values.shape[:axis], *index.shape, *values.shape[axis + 1 :]])


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    sizes = _numbers(inputs[1])
    if not attributes.get("allowzero"):
        sizes = [inputs[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return inputs[0].reshape(sizes)


def _flatten(inputs: Inputs, attributes: Attributes) -> Tensor:
    (values,) = inputs
    axis = attributes.get("axis", 1)
    axis = axis + values.ndim if axis < 0 else axis
    first = 1
    for size in values.shape[:axis]:
        first *= size
    return values.reshape(first, -1)


def _squeeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    if len(inputs) > 1 and inputs[1] is not None:
        return inputs[0].squeeze(tuple(_numbers(inputs[1])))
    return inputs[0].squeeze()


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, axes = inputs[0], _numbers(inputs[1])
    ndim = values.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        values = values.unsqueeze(axis)
    return values


def _slice(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, starts, stops, *rest = inputs
    starts, stops = _numbers(starts), _numbers(stops)
    axes = _numbers(rest[0]) if rest and rest[0] is not None else list(range(len(starts)))
    steps = _numbers(rest[1]) if len(rest) > 1 and rest[1] is not None else [1] * len(starts)
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        # As Python slices, also backwards.
        places = range(values.shape[axis])[start:stop:step]
        if step < 0 and stop < -values.shape[axis]:
            places = range(values.shape[axis])[start::step]
        index = torch.tensor(list(places), dtype=torch.int64, device=values.device)
        values = values.index_select(axis, index)
    return values


def _split(inputs: Inputs, attributes: Attributes) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        return torch.split(inputs[0], _numbers(inputs[1]), axis)
    parts = attributes["num_outputs"]
    return torch.split(inputs[0], -(-inputs[0].shape[axis] // parts), axis)


def _expand(inputs: Inputs, attributes: Attributes) -> Tensor:
    broadcast = cast("Callable[..., torch.Size]", torch.broadcast_shapes)  # pyright: ignore[reportUnknownMemberType]
    return inputs[0].expand(broadcast(inputs[0].shape, _numbers(inputs[1])))


def _clip(inputs: Inputs, attributes: Attributes) -> Tensor:
    low, high = ([*inputs[1:], None, None])[:2]
    return inputs[0].clamp(
        None if low is None else low.item(), None if high is None else high.item()
    )


def _pads(attributes: Attributes, n_axes: int) -> list[int]:
    """Padding as `F.pad` takes it: the last axis first."""
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad {attributes['auto_pad']!r} is not known here: write the pads")
    pads = attributes.get("pads", [0] * 2 * n_axes)
    return [pads[i + side] for i in reversed(range(n_axes)) for side in (0, n_axes)]


def _convolve(inputs: Inputs, attributes: Attributes) -> Tensor:
    values, weight, *rest = inputs
    n_axes = weight.ndim - 2
    function: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[n_axes]
    return function(
        F.pad(values, _pads(attributes, n_axes)),
        weight,
        rest[0] if rest else None,
        attributes.get("strides", [1] * n_axes),
        0,
        attributes.get("dilations", [1] * n_axes),
        attributes.get("group", 1),
    )


def _max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    kernel = attributes["kernel_shape"]
    function: Any = {1: F.max_pool1d, 2: F.max_pool2d}[len(kernel)]
    padded = F.pad(inputs[0], _pads(attributes, len(kernel)), value=-torch.inf)
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    return function(padded, kernel, strides, 0, dilations, bool(attributes.get("ceil_mode")))


def _pool_all(function: Callable[..., Tensor]) -> Operator:
    return lambda inputs, attributes: function(
        inputs[0], list(range(2, inputs[0].ndim)), keepdim=True
    )


def _fill(inputs: Inputs, attributes: Attributes) -> Tensor:
    dtype, value = attributes.get("value", ("float32", 0.0))
    return torch.full(_numbers(inputs[0]), value, dtype=getattr(torch, dtype))


def _range(inputs: Inputs, attributes: Attributes) -> Tensor:
    start, stop, step = (value.item() for value in inputs)
    return torch.arange(start, stop, step, dtype=inputs[0].dtype)


def _shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    sizes = list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")]
    return torch.tensor(sizes, dtype=torch.int64)


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    return lambda inputs, attributes: function(inputs[0], attributes.get("axis", -1))


def _where(inputs: Inputs, attributes: Attributes) -> Tensor:
    condition, left, right = _together(inputs)
    return torch.where(condition, left, right)


OPERATORS: dict[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "BatchNormalization": _batch_norm,
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(_together(inputs), attributes["axis"]),
    "ConstantOfShape": _fill,
    "Conv": _convolve,
    "Cos": _unary(torch.cos),
    "Div": _binary(_divide),
    "Dropout": _unary(lambda values: values),
    "Elu": lambda inputs, attributes: F.elu(inputs[0], attributes.get("alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda inputs, attributes: F.gelu(
        inputs[0], approximate=attributes.get("approximate", "none")
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": _pool_all(torch.mean),
    "GlobalMaxPool": _pool_all(torch.amax),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "HardSigmoid": lambda inputs, attributes: (
        attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5)
    ).clamp(0, 1),
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda values: values),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _binary(torch.matmul),
    "Max": _many(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _many(torch.minimum),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "Pow": _binary(torch.pow),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceMax": _reduce("Max"),
    "ReduceMean": _reduce("Mean"),
    "ReduceMin": _reduce("Min"),
    "ReduceSum": _reduce("Sum"),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Sin": _unary(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(F.softplus),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _many(torch.add),
    "Tanh": _unary(torch.tanh),
    "Tile": lambda inputs, attributes: inputs[0].repeat(_numbers(inputs[1])),
    "Transpose": lambda inputs, attributes: inputs[0].permute(
        attributes.get("perm", list(reversed(range(inputs[0].ndim))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
