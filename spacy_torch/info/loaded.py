"""What the models of a loaded pipeline hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinc.api import Model, PyTorchShim
from torch import nn

from spacy_torch.bridge.shim import TorchShim


@dataclass(frozen=True)
class ModulePart:
    """One module inside another one.

    Attributes:
        path: its name from the outermost on; empty for that itself.
        kind: its class.
        n_parameters: with those of its own parts.
        n_frozen: how many of them are not trained.
    """

    path: str
    kind: str
    n_parameters: int
    n_frozen: int


@dataclass(frozen=True)
class LoadedModule:
    """A torch module of a component.

    Attributes:
        name: the architecture whose module it is.
        n_trainable: how many numbers it learns.
        n_frozen: how many are parameters that it does not.
        n_buffers: how many are kept with it and are no parameters.
        dtypes: how many of all these have which type.
        n_bytes: what they take in memory, those that are used twice once.
        sizes: what the data decided, such as the number of labels.
        parts: itself and all modules in it, in torch's order.
    """

    name: str
    kind: str
    n_trainable: int
    n_frozen: int
    n_buffers: int
    dtypes: Mapping[str, int]
    devices: Sequence[str]
    n_bytes: int
    sizes: Mapping[str, Any]
    parts: Sequence[ModulePart]


def describe_modules(model: Model[Any, Any]) -> list[LoadedModule]:
    """The torch modules in a model that have been built, wrapped by us or by Thinc."""
    found: dict[int, LoadedModule] = {}
    for node in model.walk():
        for shim in node.shims:
            if isinstance(shim, TorchShim) and shim.is_built:
                found[id(shim)] = _describe(shim.module, name=shim.name, sizes=shim.sizes)
            elif isinstance(shim, PyTorchShim) and isinstance(shim._model, nn.Module):
                found[id(shim)] = _describe(shim._model, name=node.name, sizes={})
    return [*found.values()]


def count_thinc(model: Model[Any, Any]) -> int:
    """How many numbers Thinc's own layers learn."""
    return sum(
        node.get_param(name).size
        for node in model.walk()
        for name in node.param_names
        if node.has_param(name)
    )


def _describe(module: nn.Module, *, name: str, sizes: Mapping[str, Any]) -> LoadedModule:
    parameters, buffers = [*module.parameters()], [*module.buffers()]
    tensors = [*parameters, *buffers]
    dtypes: Counter[str] = Counter()
    for tensor in tensors:
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    n_frozen = sum(parameter.numel() for parameter in parameters if not parameter.requires_grad)
    return LoadedModule(
        name=name,
        kind=type(module).__name__,
        n_trainable=sum(parameter.numel() for parameter in parameters) - n_frozen,
        n_frozen=n_frozen,
        n_buffers=sum(buffer.numel() for buffer in buffers),
        dtypes=dict(dtypes),
        devices=sorted({str(tensor.device) for tensor in tensors}),
        n_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        sizes=sizes,
        parts=[*_list_parts(module)],
    )


def _list_parts(module: nn.Module) -> Iterator[ModulePart]:
    for path, part in module.named_modules():
        parameters = [*part.parameters()]
        yield ModulePart(
            path=path,
            kind=type(part).__name__,
            n_parameters=sum(parameter.numel() for parameter in parameters),
            n_frozen=sum(each.numel() for each in parameters if not each.requires_grad),
        )
