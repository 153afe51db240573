"""What an optimizer remembers of one torch parameter, fitted to the parameter as it is now.

Moments, averages and counts live where Thinc keeps its own: in `mom1`, `mom2`, `averages` and
`nr_update`, under the parameter's key. With sparse gradients the tables are in slot order.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from thinc.optimizers import Optimizer
from torch import Tensor

from spacy_torch.bridge.averages import RowAverage
from spacy_torch.bridge.keys import ParameterKey
from spacy_torch.bridge.row_slots import RowSlots, lazy_zeros

HALF_DTYPES = (torch.float16, torch.bfloat16)


@dataclass(eq=False)
class SideState:
    """What must be remembered of a parameter beside its moments and its average."""

    slots: RowSlots | None = None  # set while every gradient so far was sparse
    master: Tensor | None = None  # fp32 weights of a half precision parameter, in slot order
    fitted_to: tuple[torch.Size, torch.device] | None = None  # what all state agrees with


def side_states(optimizer: Optimizer) -> MutableMapping[Any, SideState]:
    """The side states, in a dictionary that Thinc declares and never uses.

    A stock optimizer has `__slots__` and so no room for an attribute of ours.
    """
    return cast(MutableMapping[Any, SideState], optimizer.last_seen)


def moment_tables(optimizer: Optimizer) -> tuple[dict[Any, Tensor], dict[Any, Tensor]]:
    """`mom1` and `mom2`, typed as the bridge uses them."""
    return cast(Any, optimizer.mom1), cast(Any, optimizer.mom2)


def average_table(optimizer: Optimizer) -> dict[Any, Any] | None:
    """`averages`: a tensor or a `RowAverage` per torch parameter, None if none are kept."""
    return cast(Any, optimizer.averages)


def update_counts(optimizer: Optimizer) -> MutableMapping[Any, int]:
    """`nr_update`, typed as the bridge uses it: zero for a key it does not have."""
    return cast(Any, optimizer.nr_update)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a parameter's state and arithmetic."""
    return torch.float32 if dtype in HALF_DTYPES else dtype


def fitted_state(
    optimizer: Optimizer, key: ParameterKey, weight: Tensor, *, sparse: bool
) -> SideState:
    """The side state of a parameter, all its state first made to fit its weights.

    State follows the parameter to another device. If the parameter has grown (a label was
    added), what was learned of the leading part is kept and the rest starts anew; if it has
    shrunk, everything starts anew. State kept by row is spread out over the whole table by the
    first dense gradient.
    """
    states = side_states(optimizer)
    side = states.get(key)
    place = (weight.shape, weight.device)
    if side is not None and side.fitted_to != place:
        tables = list(_tables(optimizer, key, side).values())
        if any(table.shape != weight.shape for table in tables):
            if any(not _fits_inside(table, weight) for table in tables):
                forget(optimizer, key)
                side = None
            else:
                _grow(optimizer, key, side, weight)
        if side is not None and any(table.device != weight.device for table in tables):
            _move(optimizer, key, side, weight.device)
    if side is None:
        slots = RowSlots(len(weight), device=weight.device) if sparse else None
        side = states[key] = SideState(slots=slots)
    side.fitted_to = place
    if side.slots is not None and not sparse:
        _spread(optimizer, key, side, weight)
    return side


def forget(optimizer: Optimizer, key: ParameterKey) -> None:
    """Drop all state of a parameter."""
    averages: dict[Any, Any] = average_table(optimizer) or {}
    counts = update_counts(optimizer)
    for table in (*moment_tables(optimizer), averages, side_states(optimizer), counts):
        cast(MutableMapping[Any, Any], table).pop(key, None)


def _tables(optimizer: Optimizer, key: ParameterKey, side: SideState) -> dict[str, Tensor]:
    """The state tables that exist, each of the parameter's shape, by a name of their own."""
    mom1, mom2 = moment_tables(optimizer)
    averages: Mapping[Any, Any] = average_table(optimizer) or {}
    average = averages.get(key)
    found = {
        "mom1": mom1.get(key),
        "mom2": mom2.get(key),
        "master": side.master,
        "average": average.table if isinstance(average, RowAverage) else average,
    }
    return {name: table for name, table in found.items() if table is not None}


def _replace(
    optimizer: Optimizer, key: ParameterKey, side: SideState, tables: Mapping[str, Tensor]
) -> None:
    mom1, mom2 = moment_tables(optimizer)
    averages = average_table(optimizer)
    if "mom1" in tables:
        mom1[key] = tables["mom1"]
    if "mom2" in tables:
        mom2[key] = tables["mom2"]
    if "master" in tables:
        side.master = tables["master"]
    if "average" in tables and averages is not None:
        table, old = tables["average"], averages[key]
        if isinstance(old, RowAverage) and side.slots is not None:
            up_to = lazy_zeros((len(table),), dtype=torch.int64, device=table.device)
            n_used = side.slots.count
            up_to[:n_used] = old.up_to[:n_used]
            table = RowAverage(slots=side.slots, table=table, up_to=up_to, step=old.step)
        averages[key] = table


def _fits_inside(table: Tensor, weight: Tensor) -> bool:
    return table.ndim == weight.ndim and all(
        old <= new for old, new in zip(table.shape, weight.shape, strict=True)
    )


def _grow(optimizer: Optimizer, key: ParameterKey, side: SideState, weight: Tensor) -> None:
    weight = weight.detach()
    n_used = len(weight)
    rows = torch.arange(n_used, device=weight.device)
    if side.slots is not None:
        side.slots = RowSlots.from_rows(side.slots.rows(), n_rows=len(weight))
        n_used, rows = side.slots.count, side.slots.rows()
    grown: dict[str, Tensor] = {}
    for name, old in _tables(optimizer, key, side).items():
        table = lazy_zeros(weight.shape, dtype=old.dtype, device=old.device)
        if name in ("master", "average"):
            # An average that started from zero at a late step would not recover for long.
            table[:n_used] = weight.index_select(0, rows.to(weight.device)).to(table)
        overlap = (slice(0, min(len(old), n_used)), *(slice(0, n) for n in old.shape[1:]))
        table[overlap] = old[overlap]
        grown[name] = table
    _replace(optimizer, key, side, grown)


def _move(optimizer: Optimizer, key: ParameterKey, side: SideState, device: torch.device) -> None:
    if side.slots is not None:
        side.slots = RowSlots.from_rows(side.slots.rows().to(device), n_rows=side.slots.n_rows)
    tables = _tables(optimizer, key, side)
    _replace(optimizer, key, side, {name: table.to(device) for name, table in tables.items()})


def _spread(optimizer: Optimizer, key: ParameterKey, side: SideState, weight: Tensor) -> None:
    """Turn state in slot order into state in row order."""
    assert side.slots is not None
    rows, n_used = side.slots.rows(), side.slots.count
    spread: dict[str, Tensor] = {}
    for name, old in _tables(optimizer, key, side).items():
        table = weight.to(old.dtype, copy=True) if name == "master" else torch.zeros_like(old)
        spread[name] = table.index_copy_(0, rows, old[:n_used])
    averages: Mapping[Any, Any] = average_table(optimizer) or {}
    if "average" in spread:
        spread["average"] = averages[key].settled(weight)
    side.slots = None
    _replace(optimizer, key, side, spread)
