"""Switch a module between training and evaluation at little cost."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch import nn


class ModeSwitch:
    """Puts a module in training mode for the time of a context.

    `nn.Module.train` sets an attribute the slow way on every submodule, a tenth of a small
    module's step. Here the flags are set directly. The submodules are listed anew each time,
    because parts may be replaced between two updates or inside one. A module with a `train`
    of its own anywhere inside, or a scripted one, is switched by calling `train`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._plain_types: set[type[nn.Module]] = set()

    @contextlib.contextmanager
    def training(self) -> Generator[None, None, None]:
        """Training mode inside, evaluation mode after it."""
        self._set(True)
        try:
            yield
        finally:
            self._set(False)

    def _set(self, training: bool) -> None:
        layers = _all_layers(self.module)
        if not all(map(self._is_plain, layers)):
            self.module.train(training)
            return
        for layer in layers:
            layer.__dict__["training"] = training

    def _is_plain(self, layer: nn.Module) -> bool:
        kind = type(layer)
        if "train" in layer.__dict__:
            return False
        if kind in self._plain_types:
            return True
        # A scripted module keeps its flag where its compiled code finds it.
        if isinstance(layer, torch.jit.ScriptModule) or kind.train is not nn.Module.train:
            return False
        self._plain_types.add(kind)
        return True


def _all_layers(module: nn.Module) -> list[nn.Module]:
    """What `module.modules()` gives, in some order and without making up names."""
    layers: dict[int, nn.Module] = {}
    waiting = [module]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in layers:
            layers[id(layer)] = layer
            waiting += [part for part in layer._modules.values() if part is not None]  # pyright: ignore[reportPrivateUsage]
    return list(layers.values())
