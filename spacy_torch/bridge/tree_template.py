"""A nest of tensors as plain JSON with numbers in the tensors' places, and back."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor

# Whose named tuples and dataclasses a template may name: it comes out of a file.
_PACKAGE = "spacy_torch.nn."


class NamedValues(dict[str, Any]):
    """What a Hugging Face model returns, as the names of its outputs: a dict with attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"there is no output {name!r}, only {list(self)}") from error


def write_template(tree: Any) -> Any:
    """The structure as JSON; tensors are numbered in the order of `tree.leaves`.

    Raises:
        TypeError: it has a value that JSON or another process does not know.
    """
    count = -1

    def write(given: Any) -> Any:
        nonlocal count
        part = cast("object", given)
        if isinstance(part, Tensor):
            count += 1
            return {"tensor": count}
        if part is None or isinstance(part, (bool, int, float, str)):
            return {"value": part}
        if isinstance(part, (tuple, list)) and not hasattr(part, "_fields"):  # pyright: ignore[reportUnknownArgumentType]
            kind = "list" if isinstance(part, list) else "tuple"
            return {kind: [write(item) for item in cast("Sequence[Any]", part)]}
        if isinstance(part, Mapping):
            kind = "dict" if type(given) is dict else "named"
            named = cast("Mapping[str, Any]", part)
            return {kind: {name: write(value) for name, value in named.items()}}
        cls = cast("type[Any]", type(given))
        name = f"{cls.__module__}:{cls.__qualname__}"
        if not cls.__module__.startswith(_PACKAGE) or not _is_record(cls):
            raise TypeError(f"an output of type {cls.__name__} cannot be stored")
        return {"record": [name, {key: write(getattr(part, key)) for key in _fields(cls)}]}  # pyright: ignore[reportUnknownArgumentType]

    return write(tree)


def fill_template(template: Mapping[str, Any], tensors: Sequence[Any]) -> Any:
    """The structure that was written, with these tensors in it.

    Raises:
        ValueError: it is none that `write_template` makes, or there are too few tensors.
    """
    try:
        return _fill(template, tensors)
    except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"a damaged template of outputs, {template!r:.100}: {error}") from error


def _fill(template: Mapping[str, Any], tensors: Sequence[Any]) -> Any:
    ((kind, content),) = template.items()
    return _KINDS[kind](content, tensors)


def _fill_record(content: Any, tensors: Sequence[Any]) -> Any:
    name, fields = content
    cls = _find_record(name)
    made = {key: _fill(value, tensors) for key, value in fields.items()}
    if not dataclasses.is_dataclass(cls):
        return cls(**made)
    # Not by its constructor, for which some fields are none of its arguments.
    record = object.__new__(cls)
    for key, value in made.items():
        object.__setattr__(record, key, value)
    return record


_KINDS: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "tensor": lambda content, tensors: tensors[content],
    "value": lambda content, tensors: content,
    "list": lambda content, tensors: [_fill(part, tensors) for part in content],
    "tuple": lambda content, tensors: tuple(_fill(part, tensors) for part in content),
    "dict": lambda content, tensors: {key: _fill(part, tensors) for key, part in content.items()},
    "named": lambda content, tensors: NamedValues(
        {key: _fill(part, tensors) for key, part in content.items()}
    ),
    "record": _fill_record,
}


def _find_record(name: str) -> type[Any]:
    module, _, path = name.partition(":")
    if not module.startswith(_PACKAGE):
        raise TypeError(f"only types of {_PACKAGE}* are known, not {name!r}")
    cls = getattr(importlib.import_module(module), path)
    if not isinstance(cls, type) or not _is_record(cls):
        raise TypeError(f"{name!r} is no named tuple or dataclass")
    return cast("type[Any]", cls)


def _is_record(cls: type[Any]) -> bool:
    return dataclasses.is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields"))  # pyright: ignore[reportUnknownArgumentType]


def _fields(cls: type[Any]) -> list[str]:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return list(cast("Any", cls)._fields)
