"""The optimizer of spaCy's loop, which tells callbacks everything else but that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thinc.api import Model, Optimizer, Shim


class OptimizerNote(Shim):
    """Hears of the optimizer in the first step, as all shims of a model do, and is gone then."""

    def __init__(self, model: Model[Any, Any], note: Callable[[Optimizer], Any]) -> None:
        super().__init__(None)
        self._told = (model, note)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Tell who asked, and step nothing."""
        model, note = self._told
        model.shims.remove(self)
        note(optimizer)
