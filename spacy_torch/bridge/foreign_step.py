"""Torch parameters shown as arrays to an optimizer that knows nothing of torch."""

import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from thinc.optimizers import Optimizer
from torch import Tensor, nn

from spacy_torch.bridge.keys import array_key, parameter_key

ShownArray = weakref.ref[numpy.ndarray[Any, Any]]


def foreign_step(
    optimizer: Callable[..., Any], parameters: Mapping[str, nn.Parameter], *, shim_id: int
) -> list[ShownArray]:
    """Call `optimizer(key, weights, gradient)` for every parameter that has a gradient.

    On a CPU the fp32 weights are shown in place, so that a callable which only takes notes and
    moves them later (`Language.rehearse`) works too. Elsewhere a copy is shown and copied back
    when the call returns.

    Returns:
        References to the arrays that share their memory with a parameter: as long as one
        lives, its holder may move the weights without torch's knowledge.
    """
    shown: list[ShownArray] = []
    # What a plain function passes on may reach a stock optimizer (as in `Language.rehearse`),
    # whose arrays must not mix with the tensors that `stock_step` keeps.
    takes_tensors = isinstance(optimizer, Optimizer)
    for name, parameter in parameters.items():
        if parameter.grad is None or parameter.numel() == 0:
            continue
        weights = _as_array(parameter.detach())
        gradient = parameter.grad.detach()
        gradient = _as_array(gradient.to_dense() if gradient.is_sparse else gradient)
        in_place = weights.ctypes.data == parameter.data_ptr()
        if not in_place and not takes_tensors:
            warnings.warn(
                f"{optimizer!r} gets a copy of the weights of {name!r} ({parameter.dtype} on "
                f"{parameter.device}): changes made after it returns are lost",
                stacklevel=3,
            )
        if in_place:
            shown.append(weakref.ref(weights))
        key = (
            parameter_key(shim_id, name)
            if takes_tensors
            else array_key(shim_id, name, parameter.shape)
        )
        moved, _ = optimizer(key, weights, gradient)
        if moved is not weights or not in_place:
            parameter.copy_(torch.as_tensor(numpy.ascontiguousarray(moved)))
    return shown


def _as_array(tensor: Tensor) -> numpy.ndarray[Any, Any]:
    return tensor.to(device="cpu", dtype=torch.float32).numpy()
