"""Arrays to tensors and back, for whole argument lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy
import torch
from numpy.typing import NDArray
from thinc.api import Ops
from thinc.types import ArgsKwargs, Padded, Ragged
from thinc.util import is_cupy_array, torch2xp, xp2torch
from torch import Tensor, nn

from spacy_torch.bridge.tree import map_leaves

# Thinc has no arrays of 16 bits: a half-precision output is handed over as float32.
HALF_PRECISION = (torch.bfloat16, torch.float16)


def to_tensors(
    tree: Any, device: torch.device, *, find_float_type: Callable[[], torch.dtype] | None = None
) -> Any:
    """The same structure with every array and tensor as a tensor on `device`.

    A NumPy array already on the right device is shared, not copied. What is neither
    array nor tensor (numbers, strings, None) passes through.

    Args:
        find_float_type: gives the type that NumPy arrays of float64, its default, are
            cast to. A tensor of float64 was made on purpose and stays.
    """

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(device)
        if isinstance(leaf, numpy.ndarray):
            # Torch warns of read-only memory and has no negative strides.
            array = cast("NDArray[Any]", leaf)
            shareable = array.flags.writeable and all(step >= 0 for step in array.strides)
            tensor = torch.as_tensor(array if shareable else numpy.array(array))
            if find_float_type is not None and tensor.dtype == torch.float64:
                tensor = tensor.to(find_float_type())
            return tensor.to(device)
        if is_cupy_array(leaf):
            return xp2torch(leaf, device=device)
        return leaf

    return map_leaves(convert, tree)


def to_arrays(tree: Any, ops: Ops) -> Any:
    """The same structure with every tensor as an array of `ops`, detached from the graph."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        detached = leaf.detach()
        if detached.dtype in HALF_PRECISION:
            detached = detached.float()
        return torch2xp(detached, ops=ops)

    return map_leaves(convert, tree)


def float_type_of(module: nn.Module) -> torch.dtype:
    """The type of a module's floating-point parameters; the wider one of several."""
    types = {parameter.dtype for parameter in module.parameters()}
    floats = [dtype for dtype in types if dtype.is_floating_point]
    if torch.float64 in floats:
        return torch.float64
    return floats[0] if len(floats) == 1 else torch.get_default_dtype()


def as_call(batch: Any) -> ArgsKwargs:
    """How a batch is passed to the module: as its one argument, unless it is an `ArgsKwargs`."""
    return batch if isinstance(batch, ArgsKwargs) else ArgsKwargs((batch,), {})


def call_from_thinc(inputs: Any) -> ArgsKwargs:
    """The call that a Thinc input stands for, when no featurizer says otherwise.

    An array is one argument, a tuple several, a dict keyword arguments, a list one
    argument that is a list; `Ragged` becomes `(values, lengths)`, `Padded` the padded
    array `(token, batch, width)` and its lengths.
    """
    if isinstance(inputs, ArgsKwargs):
        return inputs
    if isinstance(inputs, Ragged):
        return ArgsKwargs((inputs.dataXd, inputs.lengths), {})
    if isinstance(inputs, Padded):
        return ArgsKwargs((inputs.data, inputs.lengths), {})
    if isinstance(inputs, tuple):
        return ArgsKwargs(cast("tuple[Any, ...]", inputs), {})
    if isinstance(inputs, dict):
        return ArgsKwargs((), cast("dict[str, Any]", inputs))
    return ArgsKwargs((inputs,), {})
