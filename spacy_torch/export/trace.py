"""Trace what a module does with tensors into a program of `torch.export`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spacy_torch.bridge.tree import leaves, map_leaves
from spacy_torch.bridge.tree_template import write_template
from spacy_torch.export.calls import Call, recorded_calls
from spacy_torch.export.formats import NotExportable
from spacy_torch.nn.hf_transformer import HFTransformer


class _Slot:
    """Where a tensor goes in a structure of arguments."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Flat(nn.Module):
    """A module from a row of tensors to a row of tensors."""

    def __init__(self, module: nn.Module, arguments: tuple[Any, Any]) -> None:
        super().__init__()
        self.module = module
        self.arguments = arguments

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = map_leaves(partial(_fill_slot, tensors), self.arguments)
        outputs = self.module(*args, **kwargs)
        return tuple(leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor))


def _fill_slot(tensors: Sequence[Tensor], leaf: Any) -> Any:
    return tensors[leaf.number] if isinstance(leaf, _Slot) else leaf


def find_part(module: nn.Module) -> str:
    """The name of what can be traced: the whole module, or the transformer inside it.

    What a `HFTransformer` does around its transformer is not done with tensors alone.
    """
    for name, part in module.named_modules():
        if isinstance(part, HFTransformer):
            return f"{name}.transformer" if name else "transformer"
    return ""


def calls_of_part(module: nn.Module, name: str, calls: Sequence[Call]) -> list[Call]:
    """What a part of a module is called with when the module is called as recorded."""
    if not name:
        return list(calls)
    with recorded_calls(module.get_submodule(name)) as found, torch.no_grad():
        for call in calls:
            module(*call.args, **call.kwargs)
    return found


def trace(module: nn.Module, calls: Sequence[Call]) -> tuple[Any, Any]:
    """A program of the module, for batches of any size, and the structure of its outputs.

    Raises:
        NotExportable: the module does more than calculate with tensors, or something that
            torch cannot trace.
    """
    if not hasattr(torch.compiler, "is_exporting"):
        raise NotExportable(f"this needs torch 2.7 or later, and this is {torch.__version__}")
    call = max(calls, key=_smallest_axis)
    try:
        write_template((call.args, call.kwargs))
        outputs = write_template(call.outputs)
    except TypeError as error:
        raise NotExportable(f"it does not take and return tensors alone: {error}") from error
    tensors: list[Tensor] = []

    def take_out(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        tensors.append(leaf)
        return _Slot(len(tensors) - 1)

    arguments = map_leaves(take_out, (call.args, call.kwargs))
    flat = _Flat(copy.deepcopy(module).requires_grad_(False).eval(), arguments).eval()
    any_size = {"tensors": tuple(_any_sizes(tensor) for tensor in tensors)}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            program = torch.export.export(
                flat, tuple(tensors), dynamic_shapes=any_size, strict=True
            )
    except Exception as error:
        raise NotExportable(f"torch cannot trace it: {_first_line(error)}") from error
    return program, outputs


def _any_sizes(tensor: Tensor) -> dict[int, Any]:
    return {axis: torch.export.Dim.AUTO for axis in range(tensor.ndim)}


def _smallest_axis(call: Call) -> tuple[int, int]:
    """Axes of no or one element would be taken for ones that always are so."""
    sizes = [
        size
        for leaf in leaves((call.args, call.kwargs))
        if isinstance(leaf, Tensor)
        for size in leaf.shape
    ]
    return min(sizes, default=0), sum(sizes)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
