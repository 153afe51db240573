"""Switch a module between training and evaluation without walking it each time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from torch import nn


class ModeSwitch:
    """Puts a module in training mode for the time of a context.

    `nn.Module.train` walks all submodules and sets an attribute the slow way, twice per
    update: a tenth of a small module's step. The submodules are listed once instead. A
    module with a `train` method of its own anywhere inside is switched by calling it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._layers = list(module.modules())
        self._has_own_way = any(type(layer).train is not nn.Module.train for layer in self._layers)

    @contextlib.contextmanager
    def training(self) -> Generator[None, None, None]:
        """Training mode inside, evaluation mode after it."""
        self._set(True)
        try:
            yield
        finally:
            self._set(False)

    def _set(self, training: bool) -> None:
        if self._has_own_way:
            self.module.train(training)
            return
        for layer in self._layers:
            layer.__dict__["training"] = training
