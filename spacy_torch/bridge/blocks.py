"""What one optimizer step works on: dense tensors in at least fp32, wherever they come from.

A parameter with a dense gradient is worked on in place. Of a table with a sparse gradient the
touched rows and their state are gathered, moved by the same arithmetic, and put back. Half
precision weights are moved as fp32 copies that the optimizer keeps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from thinc.optimizers import Optimizer
from torch import Tensor, nn

from spacy_torch.bridge.averages import RowAverage, average_decay
from spacy_torch.bridge.gradients import coalesce_rows
from spacy_torch.bridge.keys import ParameterKey, parameter_key
from spacy_torch.bridge.parameter_state import (
    SideState,
    average_table,
    compute_dtype,
    fitted_state,
    moment_tables,
    update_counts,
)
from spacy_torch.bridge.row_slots import lazy_zeros


@dataclass(eq=False)
class Block:
    """The part of a parameter that a step moves: `weight` and `moments` are changed in place."""

    name: str
    step: int  # how many gradients the parameter has had, this one included
    weight: Tensor
    gradient: Tensor
    moments: list[Tensor] = field(default_factory=list[Tensor])
    # To be called in this order once the block has been moved: copies back, then the average.
    after: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])


def gather_blocks(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    *,
    shim_id: int,
    n_moments: int,
) -> list[Block]:
    """A block for every parameter with a gradient; counts the step in `nr_update`.

    Must be called, like everything done to the blocks, under `torch.no_grad()`.
    """
    blocks: list[Block] = []
    for name, parameter in parameters.items():
        gradient = parameter.grad
        # Thinc's optimizers too pass over a parameter without elements, uncounted.
        if gradient is None or parameter.numel() == 0:
            continue
        weight = parameter.detach()
        if gradient.is_sparse:
            gradient = coalesce_rows(gradient)
            if gradient.sparse_dim() != 1:
                gradient = gradient.to_dense()
        key = parameter_key(shim_id, name)
        side = fitted_state(optimizer, key, weight, sparse=gradient.is_sparse)
        update_counts(optimizer)[key] += 1
        gather = _row_block if gradient.is_sparse else _dense_block
        blocks.append(gather(optimizer, key, weight, gradient, side, n_moments=n_moments))
    return blocks


def store_blocks(blocks: Sequence[Block]) -> None:
    """Put moved blocks back where they came from, and take them into the averages."""
    for block in blocks:
        for action in block.after:
            action()


def _dense_block(
    optimizer: Optimizer,
    key: ParameterKey,
    weight: Tensor,
    gradient: Tensor,
    side: SideState,
    *,
    n_moments: int,
) -> Block:
    dtype = compute_dtype(weight.dtype)
    moved = weight
    if dtype != weight.dtype:
        moved = side.master = _follow(side.master, weight)
        gradient = gradient.to(dtype)
    elif not weight.is_contiguous():
        moved = weight.contiguous()
    block = Block(
        name=key[2],
        step=update_counts(optimizer)[key],
        weight=moved,
        gradient=gradient.contiguous(),
    )
    if moved is not weight:
        block.after.append(partial(weight.copy_, moved))
    for table in moment_tables(optimizer)[:n_moments]:
        if key not in table:
            table[key] = torch.zeros_like(block.weight)
        block.moments.append(table[key])
    averages = average_table(optimizer)
    if averages is not None:
        average = _dense_average(averages, key, weight)
        decay = average_decay(block.step)
        block.after.append(partial(average.lerp_, block.weight, 1 - decay))
    return block


def _row_block(
    optimizer: Optimizer,
    key: ParameterKey,
    weight: Tensor,
    gradient: Tensor,
    side: SideState,
    *,
    n_moments: int,
) -> Block:
    averages, dtype = average_table(optimizer), compute_dtype(weight.dtype)
    rows = gradient.indices()[0]
    has_state = n_moments > 0 or averages is not None or dtype != weight.dtype
    slots = side.slots.find(rows) if side.slots is not None and has_state else rows
    block = Block(
        name=key[2],
        step=update_counts(optimizer)[key],
        weight=weight.index_select(0, rows),
        gradient=gradient.values().to(dtype),
    )
    if dtype != weight.dtype:
        if side.master is None:
            side.master = lazy_zeros(weight.shape, dtype=dtype, device=weight.device)
        block.weight = _follow(side.master.index_select(0, slots), block.weight)
        block.after.append(partial(side.master.index_copy_, 0, slots, block.weight))
    block.after.append(partial(_put_rows, weight, rows=rows, block=block.weight))
    for table in moment_tables(optimizer)[:n_moments]:
        if key not in table:
            table[key] = lazy_zeros(weight.shape, dtype=dtype, device=weight.device)
        moment = table[key].index_select(0, slots)
        block.moments.append(moment)
        block.after.append(partial(_put_rows, table[key], rows=slots, block=moment))
    if averages is not None and side.slots is None:
        average = _dense_average(averages, key, weight)
        whole = weight if side.master is None else side.master
        block.after.append(partial(average.lerp_, whole, 1 - average_decay(block.step)))
    elif averages is not None and side.slots is not None:
        if key not in averages:
            table = lazy_zeros(weight.shape, dtype=dtype, device=weight.device)
            averages[key] = RowAverage(slots=side.slots, table=table)
        block.after.append(
            partial(
                averages[key].update,
                slots,
                before=block.weight.clone(),
                after=block.weight,
                step=block.step,
            )
        )
    return block


def _put_rows(table: Tensor, *, rows: Tensor, block: Tensor) -> None:
    block = block.to(table.dtype)
    if table.device.type == "cpu" and table.dtype == torch.float32:
        # NumPy copies whole rows, twice as fast as index_copy_, but counts no change:
        # the empty fill tells caches of a weight that it changed.
        table.numpy()[rows.numpy()] = block.numpy()
        table[:0].zero_()
    else:
        table.index_copy_(0, rows, block)


def _dense_average(
    averages: dict[ParameterKey, Tensor], key: ParameterKey, weight: Tensor
) -> Tensor:
    if key not in averages:
        averages[key] = torch.zeros(
            weight.shape, dtype=compute_dtype(weight.dtype), device=weight.device
        )
    return averages[key]


def _follow(master: Tensor | None, weight: Tensor) -> Tensor:
    """The fp32 weights, taken anew where somebody else has set the half precision ones."""
    if master is None:
        return weight.float().contiguous()
    unchanged = master.to(weight.dtype) == weight
    return torch.where(unchanged, master, weight.float(), out=master)
