"""Rows computed once per word type and kept across batches, for prediction."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from weakref import WeakSet

import torch
from torch import Tensor

Rows = tuple[Tensor, ...]

DEFAULT_CAPACITY = 32 * 1024**2


class TypeCache:
    """Remembers, for each type's key, one row of several tables.

    Threads may share it. It forgets everything when the stamp of what the rows were
    computed from changes, and when it is full. Copies and pickles of it are empty, and so
    is what a forked process inherits: another thread may have been writing at that moment.

    Args:
        capacity: at most so many bytes of rows are kept; a batch that alone has more is
            computed and not remembered.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._lock = Lock()
        self._known = _Known(None)
        _caches_of_process().add(self)

    def __reduce__(self) -> tuple[type[TypeCache], tuple[int]]:
        return TypeCache, (self.capacity,)

    def __len__(self) -> int:
        return len(self._known.slots)

    @property
    def n_bytes(self) -> int:
        """How much memory the kept tables take, room for growth included."""
        return sum(table.nbytes for table in self._known.tables)

    def clear(self) -> None:
        """Forget every row."""
        self._known = _Known(None)

    def start_in_child(self) -> None:
        """Begin anew in a forked process, where nobody will ever release a lock held before."""
        self._lock = Lock()
        self.clear()

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
            known = self._known if self._known.stamp == stamp else _Known(stamp)
            missing = known.find_missing(keys)
            if known.tables and not self._has_room(known, missing, known.tables):
                known = _Known(stamp)
                missing = known.find_missing(keys)
            if missing:
                rows = compute(torch.tensor(missing, dtype=torch.int64))
                fits = self._has_room(known, missing, rows)
                n_most = self.capacity // _row_bytes(rows) if fits else len(missing)
                known.append([keys[index] for index in missing], rows, n_most=n_most)
                # A new object: readers of the old one finish with what they have.
                self._known = known if fits else _Known(stamp)
            slots = [known.slots[key] for key in keys]
            return torch.tensor(slots, dtype=torch.int64), known.tables

    def _has_room(self, known: _Known, missing: Sequence[int], rows: Rows) -> bool:
        return (len(known.slots) + len(missing)) * _row_bytes(rows) <= self.capacity


class _Known:
    """Slots and tables that belong together; rows are written before their slots."""

    def __init__(self, stamp: Hashable) -> None:
        self.stamp = stamp
        self.slots: dict[Hashable, int] = {}
        self.tables: Rows = ()

    def find_missing(self, keys: Sequence[Hashable]) -> list[int]:
        return [index for index, key in enumerate(keys) if key not in self.slots]

    def append(self, keys: Sequence[Hashable], rows: Rows, *, n_most: int) -> None:
        """Add rows, making room for up to twice as many, but for no more than `n_most`."""
        start, end = len(self.slots), len(self.slots) + len(keys)
        if not self.tables or end > len(self.tables[0]):
            n_rows = max(end, min(2 * end, n_most))
            self.tables = tuple(
                _grown(table, start, row.new_empty(n_rows, *row.shape[1:]))
                for table, row in zip(self.tables or rows, rows, strict=True)
            )
        for table, row in zip(self.tables, rows, strict=True):
            table[start:end] = row
        self.slots.update(zip(keys, range(start, end), strict=True))


@functools.lru_cache(maxsize=1)
def _caches_of_process() -> WeakSet[TypeCache]:
    """The caches to begin anew after a fork; asked for first when one is made, not at import."""
    caches: WeakSet[TypeCache] = WeakSet()

    def start_in_child() -> None:
        for cache in list(caches):
            cache.start_in_child()

    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=start_in_child)
    return caches


def _row_bytes(rows: Rows) -> int:
    # At least one, as rows of no width take no room.
    return max(1, sum(row.element_size() * row[:1].numel() for row in rows))


def _grown(table: Tensor, n_rows: int, larger: Tensor) -> Tensor:
    larger[:n_rows] = table[:n_rows]
    return larger
