"""Whether stored tensors fit a module's: every difference by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from spacy_torch.bridge.weights_header import (
    DTYPE_NAMES,
    Header,
    Layout,
    TensorPlace,
    WeightsError,
    list_names,
)

REBUILD = (
    "Build the module as it was when the weights were saved (the same [model] block and code), "
    "or train it anew"
)
# What torch puts in the names of a module that it wraps, anywhere in the path.
WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "a data-parallel wrapper"}


def check_savable(tensors: Mapping[str, object]) -> None:
    """Raise a `WeightsError` that names every tensor which a weights file cannot hold."""
    problems: list[str] = []
    for name, tensor in tensors.items():
        problem = _unsavable(tensor)
        if name == "__metadata__":
            problem = "has a name that safetensors keeps for itself"
        if problem:
            problems.append(f"tensor {name!r} {problem}")
    if problems:
        raise WeightsError("; ".join(problems))


def check_name(header: Header, name: str) -> None:
    """Raise a `WeightsError` if the weights were saved for something else."""
    if name != header.name:
        raise WeightsError(
            f"these are weights of {header.name!r}, not of {name!r}: use the architecture that "
            "they were saved with"
        )


def check_shapes(places: Mapping[str, TensorPlace], tensors: Mapping[str, Tensor]) -> None:
    """Raise a `WeightsError` as `check_match` does, by names, shapes and types only.

    The module's tensors may lie on the "meta" device.
    """
    problems: list[str] = []
    for name in sorted(tensors.keys() & places.keys()):
        tensor = cast("object", tensors[name])
        problem = None
        if isinstance(tensor, Tensor) and not is_lazy(tensor):
            problem = _difference(places[name], tensor)
        if problem:
            problems.append(f"tensor {name!r} {problem}")
    _report(places, tensors, problems)


def check_match(layout: Layout, tensors: Mapping[str, Tensor]) -> None:
    """Raise a `WeightsError` that names every stored tensor which does not fit the module's."""
    places = layout.places
    problems: list[str] = []
    for name in sorted(tensors.keys() & places.keys()):
        problem = _unloadable(tensors[name]) or _difference(places[name], tensors[name])
        if problem:
            problems.append(f"tensor {name!r} {problem}")
    problems.extend(_tie_problems(layout, tensors))
    _report(places, tensors, problems)


def _report(
    places: Mapping[str, TensorPlace], tensors: Mapping[str, Tensor], problems: Sequence[str]
) -> None:
    missing, extra = tensors.keys() - places.keys(), places.keys() - tensors.keys()
    named: list[str] = []
    if missing:
        named.append(f"missing from the weights: {list_names(missing)}")
    if extra:
        named.append(f"in the weights but not in the module: {list_names(extra)}")
    named.extend(problems)
    if named:
        hints = _prefix_hint(missing, extra) if missing and extra else []
        message = "; ".join([*named, *hints])
        raise WeightsError(message if hints else f"{message}. {REBUILD}")


def _unsavable(tensor: object) -> str | None:
    if not isinstance(tensor, Tensor):
        return f"is not a tensor but {type(tensor).__name__}"
    if is_lazy(tensor) or tensor.is_meta:
        return "holds no data yet: initialize the module first"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in DTYPE_NAMES:
        return f"is {tensor.dtype} with layout {tensor.layout}, which safetensors cannot hold"
    return None


def _unloadable(tensor: Tensor) -> str | None:
    problem = _unsavable(tensor)
    if problem is None and any(
        step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        return "is expanded in the module, so that it cannot be written to: clone() it there"
    return problem


def _difference(place: TensorPlace, tensor: Tensor) -> str | None:
    if place.shape != tuple(tensor.shape):
        return f"has shape {list(place.shape)}, the module needs {list(tensor.shape)}"
    both_floating = place.dtype.is_floating_point and tensor.dtype.is_floating_point
    if place.dtype != tensor.dtype and not both_floating:
        return f"has type {place.dtype}, the module needs {tensor.dtype}"
    return None


def _tie_problems(layout: Layout, tensors: Mapping[str, Tensor]) -> list[str]:
    first_names: dict[object, str] = {}
    problems: list[str] = []
    for name in sorted(tensors.keys() & layout.places.keys()):
        tensor = tensors[name]
        if _unloadable(tensor) or not tensor.numel():
            continue
        memory = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        first = first_names.setdefault(memory, name)
        if layout.header.digests[first] != layout.header.digests[name]:
            problems.append(
                f"tensors {first!r} and {name!r} are one in the module, but differ in the weights"
            )
    return problems


def _prefix_hint(missing: set[str], extra: set[str]) -> list[str]:
    for wrapper, made_by in WRAPPERS.items():
        bare_missing, bare_extra = (
            {name.replace(wrapper, "") for name in names} for names in (missing, extra)
        )
        if bare_missing == bare_extra:
            return [
                f"the names differ only by {wrapper!r}, which {made_by} adds: "
                "save and load the module inside it"
            ]
    for longer, shorter, where in ((extra, missing, "weights"), (missing, extra, "module")):
        ending = min(shorter)
        for prefix in sorted(name[: -len(ending)] for name in longer if name.endswith(ending)):
            if prefix and {prefix + name for name in shorter} == longer:
                return [f"the names in the {where} only have {prefix!r} in front of the others"]
    return []
