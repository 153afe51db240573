"""A batch of pictures that are decoded only if somebody needs their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8

    from spacy_torch.nn.fast.encoded_texts import TextBatch


class PictureBatch(NamedTuple):
    """What is known of pictures before they are decoded.

    Attributes:
        keys: the same for the same picture, and for no other.
        read: gives the pixels of the pictures at some places of the batch, on the CPU.
    """

    keys: Int[Tensor, " batch"]
    read: Callable[[Sequence[int]], UInt8[Tensor, "some 3 side side"]]

    def read_all(self) -> UInt8[Tensor, "batch 3 side side"]:
        """The pixels of all pictures."""
        return self.read(range(len(self.keys))).to(self.keys.device)

    def take(self, place: int) -> PictureBatch:
        """A batch of one of the pictures."""
        return PictureBatch(self.keys[place][None], _Part(self, place))


def make_decoded_batch(
    keys: Int[Tensor, " batch"], pixels: UInt8[Tensor, "batch 3 side side"]
) -> PictureBatch:
    """A batch of pictures that were decoded before."""
    return PictureBatch(keys, _Decoded(pixels))


def split_repeats(keys: Int[Tensor, " batch"]) -> Iterator[list[int]]:
    """The places of a batch, in order and in parts in which no key is twice: one part as a rule."""
    part: dict[int, int] = {}
    for place, key in enumerate(map(int, keys)):
        if key in part:
            yield list(part.values())
            part = {}
        part[key] = place
    if part:
        yield list(part.values())


class RowCache:
    """What was computed of the pictures, or texts, that came last, up to a number of bytes.

    Threads may share it. A copy of it, also by pickle, is empty.

    Args:
        megabytes: how much is kept; 0 keeps nothing.
    """

    def __init__(self, megabytes: float) -> None:
        if not megabytes >= 0:
            raise ValueError(f"cache_mb must be at least 0, got {megabytes}")
        self.megabytes = megabytes
        self._rows: dict[int, Tensor] = {}
        self._n_bytes = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[RowCache], tuple[float]]:
        return RowCache, (self.megabytes,)

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget everything, as when what computes it has changed."""
        with self._lock:
            self._rows, self._n_bytes = {}, 0

    def find(self, batch: PictureBatch | TextBatch, compute: Callable[[Any], Tensor]) -> Tensor:
        """A row for each picture or text, computed of what is read of it if it was not kept.

        Only those are read. One that is several times in the batch is computed once.
        """
        keys = cast("list[int]", batch.keys.tolist())  # pyright: ignore[reportUnknownMemberType]
        rows = self._rows
        known = {key: row for key in keys if (row := rows.get(key)) is not None}
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        if missing or not keys:
            computed = compute(batch.read(list(missing.values())).to(batch.keys.device))
            if not keys:
                return computed
            found = dict(zip(missing, computed, strict=True))
            known.update(found)
            self._keep(found)
        return torch.stack([known[key] for key in keys])

    def _keep(self, found: dict[int, Tensor]) -> None:
        limit = int(self.megabytes * 2**20)
        if not limit:
            return
        with self._lock:
            for key, row in found.items():
                if key not in self._rows:
                    # A copy, as a view would keep the whole batch in memory.
                    self._rows[key] = row.detach().clone()
                    self._n_bytes += _n_bytes(row)
            while self._n_bytes > limit:
                oldest = self._rows.pop(next(iter(self._rows)))
                self._n_bytes -= _n_bytes(oldest)


def _n_bytes(row: Tensor) -> int:
    return row.numel() * row.element_size()


class _Decoded:
    """Gives pictures that were decoded before."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __call__(self, places: Sequence[int]) -> Tensor:
        return self.pixels[list(places)]


class _Part:
    """Reads one picture of a batch."""

    def __init__(self, batch: PictureBatch, place: int) -> None:
        self.batch = batch
        self.place = place

    def __call__(self, places: Sequence[int]) -> Tensor:
        return self.batch.read([self.place for _ in places])
