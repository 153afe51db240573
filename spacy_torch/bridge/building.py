"""Build a torch module late, when its sizes are known, and rebuild it when they grow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

ModuleBuilder = Callable[..., nn.Module]


def build_module(build: ModuleBuilder, sizes: Mapping[str, int]) -> nn.Module:
    """Call the builder with those of the sizes that its signature takes.

    Args:
        build: a class, function or partial that returns an `nn.Module`.
        sizes: what the data decides, such as `n_labels` or `vector_width`.

    Raises:
        TypeError: the builder failed on its arguments or returned no module.
    """
    module = build(**{name: size for name, size in sizes.items() if takes(build, name)})
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"The module builder {_describe(build)} returned {type(module).__name__!r}, "
            "expected a torch.nn.Module: return the module itself, not its class or output"
        )
    return module.eval()


def takes(build: ModuleBuilder, argument: str) -> bool:
    """Whether the builder can be called with this keyword and has it not bound already."""
    try:
        parameters = inspect.signature(build).parameters
    except (TypeError, ValueError):  # built-ins without a signature
        return False
    if argument in getattr(build, "keywords", {}):
        return False
    return argument in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


@torch.no_grad()
def copy_learned(source: nn.Module, target: nn.Module) -> None:
    """Copy what was learned into a module of the same kind with other sizes.

    A tensor of the same shape is copied whole. Where a shape grew or shrank, the part
    that both have is copied and the rest keeps its fresh values: the rows of labels that
    were learned survive when a label is added.
    """
    learned = source.state_dict(keep_vars=True)
    for name, tensor in target.state_dict(keep_vars=True).items():
        old = learned.get(name)
        if old is None or old.ndim != tensor.ndim:
            continue
        shared = tuple(slice(min(a, b)) for a, b in zip(old.shape, tensor.shape, strict=True))
        tensor[shared] = old[shared].to(tensor.device)


def _describe(build: Any) -> str:
    function = getattr(build, "func", build)
    return getattr(function, "__qualname__", repr(function))
