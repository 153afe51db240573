"""Sparse gradients of all ranks on the rows that any of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spacy_torch.distributed.tensors import gather_tensor
from spacy_torch.distributed.world import World

NO_ROW = -1


@dataclass(frozen=True)
class SparseGradient:
    """What a rank has of a table's gradient: rows in ascending order, or nothing.

    Attributes:
        value: coalesced, with one sparse dimension, or None.
        n_rows: how many rows each rank has.
    """

    table: nn.Parameter
    value: Tensor | None
    n_rows: Sequence[int]

    def pad_rows(self) -> Tensor:
        """The rows of this rank, filled up to as many as the rank with most has."""
        rows = torch.full((max(self.n_rows),), NO_ROW)
        if self.value is not None:
            own = self.value.indices()[0]
            rows[: len(own)] = own.cpu()
        return rows

    def spread(self, rows: Tensor) -> Tensor:
        """The values of this rank on rows that include its own, zeros elsewhere."""
        table = self.table
        values = torch.zeros(
            len(rows), *table.shape[1:], dtype=table.dtype, device=table.device
        )  # row, ...
        if self.value is not None:
            places = torch.searchsorted(rows, self.value.indices()[0])
            values.index_copy_(0, places, self.value.values().to(table.dtype))
        return values

    def assemble(self, rows: Tensor, values: Tensor) -> Tensor:
        """The gradient with these values on these rows."""
        return torch.sparse_coo_tensor(  # pyright: ignore[reportUnknownMemberType]
            rows.unsqueeze(0), values, self.table.shape, is_coalesced=True, check_invariants=False
        )


def find_all_rows(gradients: Sequence[SparseGradient], world: World) -> list[Tensor]:
    """For each gradient the rows that any rank has, ascending, on the device of its table."""
    if not gradients:
        return []
    said = gather_tensor(torch.cat([one.pad_rows() for one in gradients]), world)
    parts = said.split([max(one.n_rows) for one in gradients], dim=1)
    return [
        part[part != NO_ROW].unique().to(one.table.device)
        for one, part in zip(gradients, parts, strict=True)
    ]
