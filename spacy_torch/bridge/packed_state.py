"""One parameter's optimizer state as tensors to be written to a file, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from thinc.backends import Ops
from thinc.optimizers import Optimizer
from thinc.util import to_numpy  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from spacy_torch.bridge.averages import RowAverage
from spacy_torch.bridge.keys import is_parameter_key
from spacy_torch.bridge.parameter_state import (
    SideState,
    average_table,
    moment_tables,
    side_states,
    update_counts,
)
from spacy_torch.bridge.row_slots import RowSlots, lazy_zeros


@dataclass(frozen=True)
class PackedState:
    """What an optimizer knows of a parameter: counts, and tables of the rows ever touched."""

    n_updates: int
    shape: tuple[int, ...] | None  # of the parameter; None if there is no table
    average_step: int | None  # set if the average is kept by row
    tables: Mapping[str, Tensor]

    def describe(self) -> dict[str, Any]:
        """Everything but the numbers in the tables, as JSON."""
        tables = {
            name: [str(table.dtype).removeprefix("torch."), list(table.shape)]
            for name, table in self.tables.items()
        }
        return {
            "n_updates": self.n_updates,
            "shape": self.shape,
            "average_step": self.average_step,
            "tables": tables,
        }


def empty_state(description: Mapping[str, Any]) -> PackedState:
    """A state with tables to be filled, from `PackedState.describe()`."""
    shape = description["shape"]
    return PackedState(
        n_updates=description["n_updates"],
        shape=None if shape is None else tuple(shape),
        average_step=description["average_step"],
        tables={
            name: torch.empty(shape, dtype=getattr(torch, dtype))
            for name, (dtype, shape) in description["tables"].items()
        },
    )


def pack_state(optimizer: Optimizer, key: Any) -> PackedState:
    """The state under one key, its tables sharing memory with the optimizer's where they can."""
    mom1, mom2 = moment_tables(optimizer)
    average = (average_table(optimizer) or {}).get(key)
    side = side_states(optimizer).get(key, SideState()) if is_parameter_key(key) else SideState()
    found: dict[str, Any] = {"mom1": mom1.get(key), "mom2": mom2.get(key), "master": side.master}
    found["average"] = average.table if isinstance(average, RowAverage) else average
    tables = {name: _as_tensor(table) for name, table in found.items() if table is not None}
    shapes = {tuple(table.shape) for table in tables.values()}
    if side.slots is not None and tables:
        if isinstance(average, RowAverage):
            tables["average_up_to"] = average.up_to
        tables = {name: table[: side.slots.count] for name, table in tables.items()}
        tables["rows"] = side.slots.rows()
    return PackedState(
        n_updates=update_counts(optimizer).get(key, 0),
        # Thinc's moments are flat, its averages are not.
        shape=max(shapes, key=len) if shapes else None,
        average_step=average.step if isinstance(average, RowAverage) else None,
        tables=tables,
    )


def unpack_tensors(
    optimizer: Optimizer, key: Any, state: PackedState, *, device: torch.device
) -> None:
    """Install the state of a torch parameter."""
    tables = {name: table.to(device) for name, table in state.tables.items()}
    side = SideState()
    if "rows" in tables and state.shape is not None:
        side.slots = RowSlots.from_rows(tables.pop("rows"), n_rows=state.shape[0])
        for name, table in tables.items():
            shape = state.shape[:1] if name == "average_up_to" else state.shape
            tables[name] = lazy_zeros(shape, dtype=table.dtype, device=device)
            tables[name][: len(table)] = table
    if tables:
        side.master = tables.get("master")
        side_states(optimizer)[key] = side
    average: Any = tables.get("average")
    if side.slots is not None and state.average_step is not None:
        average = RowAverage(
            slots=side.slots,
            table=tables["average"],
            up_to=tables["average_up_to"],
            step=state.average_step,
        )
    _install(optimizer, key, state, {**tables, "average": average})


def unpack_arrays(optimizer: Optimizer, key: Any, state: PackedState, *, ops: Ops) -> None:
    """Install the state of a parameter that is stepped by Thinc's arithmetic."""
    tables = {name: ops.asarray(cast(Any, table.numpy())) for name, table in state.tables.items()}
    _install(optimizer, key, state, tables)


def _install(optimizer: Optimizer, key: Any, state: PackedState, tables: Mapping[str, Any]) -> None:
    update_counts(optimizer)[key] = state.n_updates
    owners = (*moment_tables(optimizer), average_table(optimizer))
    for owner, name in zip(owners, ("mom1", "mom2", "average"), strict=True):
        if owner is not None and tables.get(name) is not None:
            owner[key] = tables[name]


def _as_tensor(table: Any) -> Tensor:
    return table if isinstance(table, Tensor) else torch.as_tensor(to_numpy(table))
