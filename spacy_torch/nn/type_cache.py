"""Rows computed once per word type and kept across batches, for prediction."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock

import torch
from torch import Tensor

Rows = tuple[Tensor, ...]


class TypeCache:
    """Remembers, for each type's key, one row of several tables.

    Threads may share it. It forgets everything when the stamp of what the rows were
    computed from changes, and when it is full. Copies and pickles of it are empty.

    Args:
        capacity: at most so many types are remembered.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        self.capacity = capacity
        self._lock = Lock()
        self._known = _Known(None)

    def __reduce__(self) -> tuple[type[TypeCache], tuple[int]]:
        return TypeCache, (self.capacity,)

    def __len__(self) -> int:
        return len(self._known.slots)

    def clear(self) -> None:
        """Forget every row."""
        self._known = _Known(None)

    def look_up(
        self, keys: Sequence[Hashable], *, stamp: Hashable, compute: Callable[[Tensor], Rows]
    ) -> tuple[Tensor, Rows]:
        """Where the row of each key stands, and the tables.

        Args:
            stamp: equal as long as the remembered rows are still right.
            compute: given the positions of keys that are not known, their rows in each
                table.
        """
        known = self._known
        if known.stamp == stamp:
            slots = list(map(known.slots.get, keys))
            if None not in slots:
                # Taken after the slots: a table that is newer than a slot has its row.
                return torch.tensor(slots, dtype=torch.int64), known.tables
        # Tables made in inference mode could not be written to outside it.
        with self._lock, torch.inference_mode(mode=False), torch.no_grad():
            known = self._room_for(keys, stamp)
            missing = [index for index, key in enumerate(keys) if key not in known.slots]
            if missing:
                rows = compute(torch.tensor(missing, dtype=torch.int64))
                known.append([keys[index] for index in missing], rows)
            slots = [known.slots[key] for key in keys]
            return torch.tensor(slots, dtype=torch.int64), known.tables

    def _room_for(self, keys: Sequence[Hashable], stamp: Hashable) -> _Known:
        """What is known, or nothing if it is out of date or would grow too large."""
        known = self._known
        if known.stamp != stamp or len(known.slots) + len(keys) > self.capacity:
            # A new object: readers of the old one finish with what they have.
            known = self._known = _Known(stamp)
        return known


class _Known:
    """Slots and tables that belong together; rows are written before their slots."""

    def __init__(self, stamp: Hashable) -> None:
        self.stamp = stamp
        self.slots: dict[Hashable, int] = {}
        self.tables: Rows = ()

    def append(self, keys: Sequence[Hashable], rows: Rows) -> None:
        start, end = len(self.slots), len(self.slots) + len(keys)
        if not self.tables or end > len(self.tables[0]):
            self.tables = tuple(
                _grown(table, start, row.new_empty(2 * end, *row.shape[1:]))
                for table, row in zip(self.tables or rows, rows, strict=True)
            )
        for table, row in zip(self.tables, rows, strict=True):
            table[start:end] = row
        self.slots.update(zip(keys, range(start, end), strict=True))


def _grown(table: Tensor, n_rows: int, larger: Tensor) -> Tensor:
    larger[:n_rows] = table[:n_rows]
    return larger
