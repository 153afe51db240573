"""The losses since the last evaluation, which spaCy keeps to itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy


class LossWindow:
    """Knows the dictionary that updates add their losses to, and can fill it for a resumed run."""

    def __init__(self) -> None:
        self._losses: dict[str, Any] | None = None
        self._carried: dict[str, Any] = {}

    @property
    def sums(self) -> dict[str, Any]:
        """The dictionary, whose sums are those since the last evaluation."""
        return self._carried if self._losses is None else self._losses

    def use(self, losses: dict[str, Any] | None) -> None:
        """An update is going to add to this dictionary."""
        if losses is None or losses is self._losses:
            return
        for name, value in self._carried.items():
            losses[name] = losses.get(name, 0.0) + value
        self._losses, self._carried = losses, {}

    def close(self) -> None:
        """There was an evaluation: the next update has a new dictionary."""
        self._losses, self._carried = None, {}

    def save(self) -> dict[str, list[Any]]:
        """The sums so far with their types, as JSON."""
        return {name: _typed(value) for name, value in self.sums.items()}

    def load(self, saved: Mapping[str, list[Any]]) -> None:
        """Go on with the sums that `save` gave."""
        self._losses = None
        self._carried = {
            name: value if kind == "float" else numpy.dtype(kind).type(value)
            for name, (kind, value) in saved.items()
        }


def add_up(losses: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The losses of several processes, by the component."""
    total: dict[str, Any] = {}
    for of_process in losses:
        for name, value in of_process.items():
            total[name] = total[name] + value if name in total else value
    return total


def add_up_saved(saved: Iterable[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """As `add_up`, of what `LossWindow.save` gave in each process."""
    total: dict[str, list[Any]] = {}
    for of_process in saved:
        for name, (kind, value) in of_process.items():
            total[name] = [kind, total[name][1] + value if name in total else value]
    return total


def _typed(value: Any) -> list[Any]:
    # A sum in float32 goes on in float32.
    kind = value.dtype.name if isinstance(value, numpy.floating) else "float"
    return [kind, float(value)]
