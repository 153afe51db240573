"""How a torch parameter is named in an optimizer's state."""

from collections.abc import Sequence
from typing import Any, TypeGuard, cast

ParameterKey = tuple[str, int, str]

_TENSOR, _ARRAY = "torch", "torch-array"


def parameter_key(shim_id: int, name: str) -> ParameterKey:
    """The key of one parameter in `Optimizer.mom1`, `.averages` and so on.

    Thinc's own keys are `(node id, name)`, and node and shim ids are counted apart:
    the leading word keeps a shim and a node of the same number from sharing state.
    """
    return (_TENSOR, shim_id, name)


def array_key(shim_id: int, name: str, shape: Sequence[int]) -> ParameterKey:
    """The key under which an optimizer that works on arrays keeps a torch parameter's state.

    Such a one cannot fit its state to a parameter that has grown, and begins anew.
    """
    return (f"{_ARRAY}@{'x'.join(map(str, shape))}", shim_id, name)


def is_parameter_key(key: object) -> TypeGuard[ParameterKey]:
    """Whether a key is one of `parameter_key`."""
    return _kind(key) == _TENSOR


def is_array_key(key: object) -> TypeGuard[ParameterKey]:
    """Whether a key is one of `array_key`."""
    return _kind(key) == _ARRAY


def _kind(key: object) -> str | None:
    if not isinstance(key, tuple):
        return None
    parts = cast("tuple[Any, ...]", key)
    if len(parts) != 3 or not isinstance(parts[0], str):
        return None
    return parts[0].partition("@")[0]
