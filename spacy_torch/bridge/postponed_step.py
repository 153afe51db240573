"""A step of the optimizer that waits for the gradient of the last forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

Backprop = Callable[[Any], Any]


class PostponedStep:
    """Knows whether a backward pass is still to come, and which optimizer waits for it.

    The callback is held by a weak reference: one that nobody holds will never be called.
    """

    def __init__(self) -> None:
        self._pending: ref[Backprop] | None = None
        self._optimizer: Any = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is a postponed step."""
        return self._optimizer is not None

    def begin(self, backprop: Backprop) -> None:
        """A forward pass has ended with this callback."""
        self._pending, self._optimizer = ref(backprop), None

    def end(self, backprop: Backprop) -> Any:
        """A callback has been called: the optimizer that waited for it, or None."""
        if self._pending is not None and self._pending() is backprop:
            self._pending = None
        return None if self._is_pending() else self.give_up()

    def take(self, optimizer: Any) -> bool:
        """Postpone a step, if there is something to wait for."""
        if not self._is_pending():
            return False
        self._optimizer = optimizer
        return True

    def give_up(self) -> Any:
        """Wait no longer: the optimizer that waited, or None."""
        optimizer, self._optimizer, self._pending = self._optimizer, None, None
        return optimizer

    def _is_pending(self) -> bool:
        return self._pending is not None and self._pending() is not None
