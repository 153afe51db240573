"""Where the optimizer keeps the state of a table's rows when few of them ever get a gradient."""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor


class RowSlots:
    """Numbers the rows of a table in the order of their first gradient.

    The state of the row with slot 5 is row 5 of each state table. As state tables come from
    `lazy_zeros`, rows that never got a gradient cost no memory.
    """

    def __init__(self, n_rows: int, *, device: torch.device):
        self.count = 0
        # Counted from 1, so that zero says "none" and untouched memory needs no filling.
        self._slot_of = lazy_zeros((n_rows,), dtype=torch.int32, device=device)
        self._row_of = lazy_zeros((n_rows,), dtype=torch.int64, device=device)

    @property
    def n_rows(self) -> int:
        """How many rows the table has, with a slot or without."""
        return len(self._slot_of)

    def rows(self) -> Tensor:
        """The rows that have a slot, in the order of their slots."""
        return self._row_of[: self.count]

    def find(self, rows: Tensor) -> Tensor:
        """The slot of each row (distinct ones), given out now where it has none yet."""
        found = self._slot_of.index_select(0, rows)
        new = rows[found == 0]
        if len(new):
            self._append(new)
            found = self._slot_of.index_select(0, rows)
        return found.to(torch.int64) - 1

    @classmethod
    def from_rows(cls, rows: Tensor, *, n_rows: int) -> "RowSlots":
        """Slots given out in the order of `rows`, those past the end of the table left out."""
        slots = cls(n_rows, device=rows.device)
        slots._append(rows)
        return slots

    def _append(self, rows: Tensor) -> None:
        end = self.count + len(rows)
        self._row_of[self.count : end] = rows
        self._slot_of[rows] = torch.arange(
            self.count + 1, end + 1, dtype=torch.int32, device=rows.device
        )
        self.count = end


def lazy_zeros(shape: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that take up memory only where they are written to, on a CPU.

    `torch.zeros` writes every page; NumPy leaves that to the operating system.
    """
    if device.type != "cpu" or dtype not in _NUMPY_DTYPES:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    return torch.as_tensor(numpy.zeros(tuple(shape), dtype=_NUMPY_DTYPES[dtype]))


_NUMPY_DTYPES = {
    torch.float32: numpy.float32,
    torch.float64: numpy.float64,
    torch.int32: numpy.int32,
    torch.int64: numpy.int64,
}
