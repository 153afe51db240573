"""Build a torch module late, when its sizes are known, and rebuild it when they grow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

ModuleBuilder = Callable[..., nn.Module]


def build_sized(build: ModuleBuilder, sizes: Mapping[str, Any]) -> nn.Module:
    """Call the builder with those of the sizes that its signature takes.

    Args:
        build: a class, function or partial that returns an `nn.Module`.
        sizes: what the data decides, such as `n_labels` or `vector_width`: numbers, and
            dicts of plain JSON where a number does not say it.

    Raises:
        TypeError: the builder failed on its arguments or returned no module.
    """
    wanted = {name: size for name, size in sizes.items() if takes(build, name)}
    module = cast("object", build(**wanted))  # a user's code, whatever its annotation says
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"The module builder {_describe(build)} returned {type(module).__name__!r}, "
            "expected a torch.nn.Module: return the module itself, not its class or output"
        )
    return module.eval()


def load_pretrained(module: nn.Module) -> None:
    """Let every part of a module that has a method `load_pretrained` fetch its weights.

    Only at initialization: on loading, the weights saved with the pipeline follow, and where
    the pretrained ones came from need not exist any more.
    """
    for part in module.modules():
        load = getattr(part, "load_pretrained", None)
        if callable(load):
            load()


def grown_sizes(module: nn.Module) -> dict[str, Any]:
    """The sizes that a module has changed by itself since it was built.

    A module that keeps what it has seen says by a method `grown_sizes` how large its
    tensors are by now; they are stored with the weights and given to the builder.
    """
    grown = getattr(module, "grown_sizes", None)
    return dict(cast("Mapping[str, Any]", grown())) if callable(grown) else {}


def check_builder(build: object, *, name: str) -> None:
    """Raise a `TypeError` if something cannot build a module later, such as a module itself."""
    expected = f"{name}: expected a builder of the torch module, a class, function or partial"
    if isinstance(build, nn.Module):
        raise TypeError(
            f"{expected} that is called once the sizes are known, but it is a "
            f"{type(build).__name__} already: pass the class itself or a function that builds it"
        )
    if not callable(build):
        raise TypeError(f"{expected} that returns an nn.Module, got {build!r:.100}")


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


def describe_arguments(build: ModuleBuilder) -> str:
    """The builder and what it takes, as its `def` line shows it."""
    try:
        return f"{_describe(build)}{inspect.signature(build)}"
    except (TypeError, ValueError):
        return f"{_describe(build)}(...)"


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that make up a module's state, under the names of the uncompiled module."""
    return {plain_name(name): tensor for name, tensor in module.state_dict(keep_vars=True).items()}


def named_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """What a module learns, under the names of the uncompiled module."""
    return {plain_name(name): parameter for name, parameter in module.named_parameters()}


def plain_name(name: str) -> str:
    """A tensor's name without the prefix that `torch.compile` puts before it."""
    return name.replace("_orig_mod.", "")


@torch.no_grad()
def copy_learned(source: nn.Module, target: nn.Module) -> None:
    """Copy what was learned into a module of the same kind with other sizes.

    A tensor of the same shape is copied whole. Where a shape grew or shrank, the part
    that both have is copied and the rest keeps its fresh values: the rows of labels that
    were learned survive when a label is added.

    "Both have" means the leading part of each axis: place k of an axis stays place k. That
    is right where labels, or another size that grows, are a whole axis or the end of one.
    A layer with more behind them on the same axis, such as a `Linear` of `[n_labels logits,
    n features]`, gets its features' weights in the places of labels: train it anew.
    """
    learned = named_tensors(source)
    for name, tensor in named_tensors(target).items():
        old = learned.get(name)
        if old is None or old.ndim != tensor.ndim:
            continue
        copy_shared(old, tensor)
    frozen = {name for name, old in named_parameters(source).items() if not old.requires_grad}
    for name, parameter in named_parameters(target).items():
        parameter.requires_grad_(parameter.requires_grad and name not in frozen)


def copy_shared(source: Tensor, target: Tensor) -> None:
    """Copy the part that two tensors of the same kind but other sizes both have."""
    shared = tuple(slice(min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
    target[shared] = source[shared].to(target.device)


def _describe(build: Any) -> str:
    function = getattr(build, "func", build)
    return getattr(function, "__qualname__", repr(function))
