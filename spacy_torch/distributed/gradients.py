"""The gradients of a Thinc model, one after another in the same order on every rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from thinc.api import Model
from thinc.shims import PyTorchShim
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn

from spacy_torch.bridge.gradients import coalesce_rows
from spacy_torch.bridge.shim import TorchShim


@dataclass(frozen=True)
class TorchGradient:
    """The gradient of a torch parameter: dense, sparse by rows, or none yet."""

    name: str
    parameter: nn.Parameter

    def read(self) -> Tensor | None:
        """The gradient; a sparse one has every row once, in ascending order."""
        gradient = self.parameter.grad
        if gradient is None or not gradient.is_sparse:
            return gradient
        rows = coalesce_rows(gradient)
        return rows if rows.sparse_dim() == 1 else rows.to_dense()

    def write(self, gradient: Tensor) -> None:
        """Put a gradient in its place."""
        if gradient is not self.parameter.grad:
            self.parameter.grad = gradient

    def zeros(self) -> Tensor:
        """A gradient of zeros."""
        return torch.zeros_like(self.parameter, memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class ThincGradient:
    """The gradient of a parameter of one of Thinc's own layers, as a tensor."""

    name: str
    node: Model[Any, Any]

    def read(self) -> Tensor | None:
        """The gradient; on a CPU it shares its memory with the array."""
        if not self.node.has_grad(self.name):
            return None
        return xp2torch(self.node.get_grad(self.name))

    def write(self, gradient: Tensor) -> None:
        """Put a gradient in its place."""
        self.node.set_grad(self.name, cast("FloatsXd", torch2xp(gradient, ops=self.node.ops)))

    def zeros(self) -> Tensor:
        """A gradient of zeros."""
        parameter = self.node.get_param(self.name)
        return xp2torch(self.node.ops.alloc(parameter.shape, dtype=parameter.dtype))


Gradient = TorchGradient | ThincGradient


def list_gradients(model: Model[Any, Any]) -> list[Gradient]:
    """Where the gradients of all parameters are, the order being that of `model.walk()`."""
    found: list[Gradient] = []
    for node in walk(model):
        for module in modules_of(node):
            found += [TorchGradient(name, one) for name, one in module.named_parameters()]
        found += [ThincGradient(name, node) for name in node.param_names if node.has_param(name)]
    return found


def walk(model: Model[Any, Any]) -> Iterable[Model[Any, Any]]:
    """The model and all those inside."""
    return cast("Iterable[Model[Any, Any]]", model.walk())  # pyright: ignore[reportUnknownMemberType]


def modules_of(node: Model[Any, Any]) -> Iterator[nn.Module]:
    """The torch modules behind a node, ours and those of Thinc's own wrapper."""
    for shim in node.shims:
        if isinstance(shim, TorchShim):
            if shim.is_built:
                yield shim.module
        elif isinstance(shim, PyTorchShim):
            # Thinc's shims have no public name for what they wrap.
            yield cast("nn.Module", shim._model)  # pyright: ignore[reportPrivateUsage]
