"""Walk nested arguments and outputs: tuples, lists, dicts, dataclasses, Thinc's containers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy
from thinc.types import ArgsKwargs
from torch import Tensor


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same structure with `function` applied to everything that is not a container.

    Containers are tuples (also named ones), lists, mappings, dataclass instances and
    Thinc's `ArgsKwargs`. Every mapping comes back as a plain dict, because the
    constructor of another kind cannot be guessed.
    """
    if isinstance(tree, (Tensor, numpy.ndarray)):  # by far the most frequent leaves
        return function(tree)
    if isinstance(tree, ArgsKwargs):
        args = map_leaves(function, tuple(tree.args))
        return ArgsKwargs(args, map_leaves(function, dict(tree.kwargs)) if tree.kwargs else {})
    if isinstance(tree, (tuple, list)):
        sequence = cast("tuple[Any, ...] | list[Any]", tree)
        items = [map_leaves(function, item) for item in sequence]
        if isinstance(sequence, list):
            return items
        return type(sequence)(*items) if hasattr(sequence, "_fields") else tuple(items)
    if isinstance(tree, Mapping):
        mapping = cast("Mapping[Any, Any]", tree)
        return {key: map_leaves(function, value) for key, value in mapping.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        # Not dataclasses.replace(): fields with init=False would be refused.
        copied = object.__new__(type(tree))
        for field in dataclasses.fields(tree):
            value = map_leaves(function, getattr(tree, field.name))
            object.__setattr__(copied, field.name, value)
        return copied
    return function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """Everything that is not a container, in a fixed order."""
    parts = _parts(tree)
    if parts is None:
        yield tree
    else:
        for part in parts.values():
            yield from leaves(part)


def pair_leaves(tree: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Each leaf of the first tree with what stands at its place in the other.

    None in the other tree stands for None at every leaf there, and so does a key that a
    mapping lacks.

    Raises:
        ValueError: the other tree has another structure.
    """
    parts, others = _parts(tree), _parts(other)
    if parts is None and others is None:
        yield tree, other
        return
    others = {} if other is None else others
    keyed = isinstance(tree, Mapping) or other is None
    if (
        parts is None
        or others is None
        or not (others.keys() <= parts.keys() if keyed else others.keys() == parts.keys())
    ):
        raise ValueError(
            f"The gradient must have the structure of the output, {_describe(tree)}, but it is "
            f"{_describe(other)}"
        )
    for key, part in parts.items():
        yield from pair_leaves(part, others.get(key))


def _parts(tree: Any) -> dict[Any, Any] | None:
    """What a container holds, by position, key or field; None for what is no container."""
    if isinstance(tree, ArgsKwargs):
        return {**dict(enumerate(tree.args)), **tree.kwargs}
    if isinstance(tree, (tuple, list)):
        return dict(enumerate(cast("tuple[Any, ...]", tree)))
    if isinstance(tree, Mapping):
        return dict(cast("Mapping[Any, Any]", tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return None


def _describe(tree: Any) -> str:
    parts = _parts(tree)
    kind = f"a {type(tree).__name__}"
    return kind if parts is None else f"{kind} with {list(parts)}"
