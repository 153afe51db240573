"""Running averages of weights, as Thinc keeps them, also where most rows stand still."""

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spacy_torch.bridge.building import copy_shared
from spacy_torch.bridge.keys import parameter_key
from spacy_torch.bridge.row_slots import RowSlots, lazy_zeros

MAX_DECAY = 0.9999
# From this step on Thinc's decay (1 + t) / (10 + t) exceeds MAX_DECAY and stays there.
CAPPED_FROM = 89990


def average_decay(step: int) -> float:
    """How much of the old average is kept at a step (Thinc's `update_averages`)."""
    return min((1.0 + step) / (10.0 + step), MAX_DECAY)


def decay_since(before: Tensor, step: int) -> Tensor:
    """The product of the decays of the steps `before + 1 ... step`, in closed form.

    (1 + t) / (10 + t) telescopes: the product over 1 ... t is 10! / ((t + 2) ... (t + 10)).
    """
    last_uncapped = CAPPED_FROM - 1
    start = before.to(torch.float64)
    ratio = torch.full_like(start, MAX_DECAY)
    ratio.pow_((step - start.clamp(min=last_uncapped)).clamp(min=0))
    start = start.clamp(max=last_uncapped)
    end = min(step, last_uncapped)
    for shift in range(2, 11):
        ratio *= (start + shift) / (end + shift)
    return ratio


class RowAverage:
    """The average of a table of which each step moves a few rows only.

    A row that stands still approaches its average by a known factor per step, so the average
    is brought up to date when the row moves and when somebody reads it: the result is what
    averaging the whole table at each step would give.
    """

    def __init__(
        self, *, slots: RowSlots, table: Tensor, up_to: Tensor | None = None, step: int = 0
    ):
        self.slots = slots
        self.table = table  # slot, ...
        # slot: the step that the average of the row includes
        self.up_to = (
            lazy_zeros((len(table),), dtype=torch.int64, device=table.device)
            if up_to is None
            else up_to
        )
        self.step = step

    def update(self, slots: Tensor, *, before: Tensor, after: Tensor, step: int) -> None:
        """Take in a step that moved some rows from `before` to `after`."""
        average = self.table.index_select(0, slots)
        self._catch_up(average, weight=before, slots=slots, step=step - 1)
        average.lerp_(after, 1.0 - average_decay(step))
        self.table.index_copy_(0, slots, average)
        self.up_to.index_fill_(0, slots, step)
        self.step = step

    def settled(self, weight: Tensor) -> Tensor:
        """The average of every row, given the weights as the last step left them."""
        weight = weight.detach().to(self.table.dtype)
        never = torch.zeros(1, dtype=torch.int64)
        settled = weight * (1.0 - float(decay_since(never, self.step)))
        rows = self.slots.rows()
        slots = torch.arange(len(rows), device=rows.device)
        average = self.table.index_select(0, slots)
        self._catch_up(average, weight=weight.index_select(0, rows), slots=slots, step=self.step)
        return settled.index_copy_(0, rows, average)

    def _catch_up(self, average: Tensor, *, weight: Tensor, slots: Tensor, step: int) -> None:
        kept = decay_since(self.up_to.index_select(0, slots), step).to(average.dtype)
        kept = kept.view(-1, *[1] * (average.ndim - 1))
        average.sub_(weight).mul_(kept).add_(weight)


@contextlib.contextmanager
def use_averages(
    averages: Mapping[Any, Any], parameters: Mapping[str, nn.Parameter], *, shim_id: int
) -> Generator[None, None, None]:
    """Swap averages in for the time of the context; see `averaged_parameters`."""
    values = averaged_parameters(averages, parameters, shim_id=shim_id)
    before = {name: parameters[name].detach().clone() for name in values}
    try:
        _set_values(parameters, values)
        yield
    finally:
        # Also when evaluation raised, and when spaCy dropped its half-run generator.
        _set_values(parameters, before)


def averaged_parameters(
    averages: Mapping[Any, Any], parameters: Mapping[str, nn.Parameter], *, shim_id: int
) -> dict[str, Tensor]:
    """The averages of a module's parameters, as far as an optimizer holds any.

    Meant for `Shim.use_params(optimizer.averages)`: keys of other shims and of Thinc nodes are
    passed over. The parameters must hold the weights of the last step, not averages. Each
    result has its parameter's dtype and device, and its shape as it was at the last step. It may
    be the optimizer's own memory: copy from it, never write to it.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        average = averages.get(parameter_key(shim_id, name))
        if average is None:
            continue
        if isinstance(average, RowAverage):
            # A table that has grown since (a label was added) was averaged as it was then.
            columns = (slice(n_columns) for n_columns in average.table.shape[1:])
            average = average.settled(parameter[(slice(None), *columns)])
        average = torch.as_tensor(average)
        found[name] = average.to(device=parameter.device, dtype=parameter.dtype)
    return found


@torch.no_grad()
def _set_values(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, tensor in values.items():
        # In place and not a new .data: the version counter tells caches that values changed.
        # Averages may be from before a label was added.
        copy_shared(tensor, parameters[name])
