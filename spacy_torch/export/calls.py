"""What a module is called with, and what it returns, while a pipeline annotates a sample."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spacy_torch.bridge.tree import pair_leaves


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        args: by position.
        kwargs: by name.
        outputs: what it returned.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any


@contextlib.contextmanager
def recorded_calls(module: nn.Module) -> Generator[list[Call], None, None]:
    """Fill a list with every call of a module within the context."""
    calls: list[Call] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        calls.append(Call(args, kwargs, outputs))

    hook = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


@torch.no_grad()
def largest_difference(module: nn.Module, calls: Sequence[Call]) -> tuple[float, float]:
    """How far another module's outputs are from those of the calls, and the largest of these.

    Raises:
        ValueError: its outputs have another structure or shape, or other whole numbers.
    """
    largest = difference = 0.0
    for call in calls:
        outputs = module(*call.args, **call.kwargs)
        for before, after in pair_leaves(call.outputs, outputs):
            if not isinstance(before, Tensor):
                continue
            _check_alike(before, after)
            if not before.is_floating_point() or not before.numel():
                continue
            difference = max(difference, float((before.double() - after.double()).abs().max()))
            largest = max(largest, float(before.double().abs().max()))
    return difference, largest


def _check_alike(before: Tensor, after: object) -> None:
    if not isinstance(after, Tensor) or after.shape != before.shape:
        shape = tuple(after.shape) if isinstance(after, Tensor) else type(after).__name__
        raise ValueError(
            f"the exported module returns {shape} where the original returns {tuple(before.shape)}"
        )
    if not before.is_floating_point() and not torch.equal(before, after):
        raise ValueError("the exported module returns other whole numbers than the original")
