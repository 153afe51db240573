"""The fields of records that someone else wrote, or an error that says where which is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def get_object(value: Any, name: str, where: str) -> Mapping[str, Any]:
    """The value, if it is an object.

    Raises:
        ValueError: it is something else; the message begins with `where`.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: {name} must be an object, got {value!r}")
    return value


def get_list(record: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """The list of this name; empty if there is none, or null.

    Raises:
        ValueError: it is no list; the message begins with `where`.
    """
    found = record.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{where}: {key!r} must be a list, got {found!r}")
    return found


def get_text(record: Mapping[str, Any], key: str, where: str) -> str:
    """The text of this name.

    Raises:
        ValueError: it is missing, empty or no text; the message begins with `where`.
    """
    found = record.get(key)
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{where}: {key!r} must be text that is not empty, got {found!r}")
    return found


def get_number(record: Mapping[str, Any], key: str, where: str) -> float:
    """The number of this name.

    Raises:
        ValueError: it is missing, not finite or no number; the message begins with `where`.
    """
    return to_number(record.get(key), key, where)


def to_number(value: Any, name: str, where: str) -> float:
    """The value as a finite number; numerals are not taken for numbers.

    Raises:
        ValueError: it is something else; the message begins with `where`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise ValueError(f"{where}: {name!r} must be a finite number, got {value!r}")
    return float(value)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False
