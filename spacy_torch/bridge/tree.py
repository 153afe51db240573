"""Walk nested arguments and outputs: tuples, lists, dicts, dataclasses, Thinc's containers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from thinc.types import ArgsKwargs


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same structure with `function` applied to everything that is not a container.

    Containers are tuples (also named ones), lists, mappings, dataclass instances and
    Thinc's `ArgsKwargs`. A mapping that is neither a dataclass nor a plain dict comes
    back as a dict, because its constructor cannot be guessed.
    """
    if isinstance(tree, ArgsKwargs):
        args = map_leaves(function, tuple(tree.args))
        return ArgsKwargs(args, map_leaves(function, dict(tree.kwargs)))
    if isinstance(tree, tuple):
        items = [map_leaves(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    if isinstance(tree, list):
        return [map_leaves(function, item) for item in tree]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        # Not dataclasses.replace(): fields with init=False would be refused.
        copied = object.__new__(type(tree))
        for field in dataclasses.fields(tree):
            value = map_leaves(function, getattr(tree, field.name))
            object.__setattr__(copied, field.name, value)
        return copied
    if isinstance(tree, Mapping):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    return function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """Everything that is not a container, in a fixed order."""
    if isinstance(tree, ArgsKwargs):
        yield from leaves(tuple(tree.args))
        yield from leaves(dict(tree.kwargs))
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from leaves(item)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from leaves(getattr(tree, field.name))
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from leaves(value)
    else:
        yield tree
