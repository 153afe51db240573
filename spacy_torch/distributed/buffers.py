"""Buffers that forward passes change, such as running statistics, brought to one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from thinc.api import Model
from torch import Tensor

from spacy_torch.distributed.gradients import modules_of, walk
from spacy_torch.distributed.tensors import gather_tensor, sum_tensors
from spacy_torch.distributed.world import World

# Larger ones are tables that a module reads, and would cost as much as the step to look through.
LARGEST = 2**20


class ChangedBuffers:
    """The buffers of a model that have changed since the last `share`.

    Values are compared, as torch's batch norm does not count its changes of running statistics.
    """

    def __init__(self, model: Model[Any, Any]) -> None:
        self._model = model
        self._values = [buffer.clone() for buffer in _buffers(model)]

    def find(self) -> list[int]:
        """For each buffer of this rank, 1 if it has changed."""
        buffers = list(_buffers(self._model))
        if len(buffers) != len(self._values):  # loaded or resized since
            return [1] * len(buffers)
        return [
            int(not torch.equal(buffer, value))
            for buffer, value in zip(buffers, self._values, strict=True)
        ]

    @torch.no_grad()
    def share(self, changed: Tensor, world: World) -> None:
        """Give the buffers that any rank has changed the same values on all ranks.

        A buffer of floats becomes the mean over the ranks that have changed it, a counter the
        highest of them.

        Args:
            changed: what `find` gave on each rank, of shape (rank, buffer).
        """
        buffers = list(_buffers(self._model))
        n_changes = changed.sum(0).tolist()
        floats: list[tuple[Tensor, Tensor, int]] = []
        counters: list[Tensor] = []
        for place, (buffer, count) in enumerate(zip(buffers, n_changes, strict=True)):
            if count and buffer.is_floating_point():
                is_own = bool(changed[world.rank, place])
                value = buffer.clone() if is_own else torch.zeros_like(buffer)
                floats.append((buffer, value, count))
            elif count:
                counters.append(buffer)
        sum_tensors([value for _, value, _ in floats], world)
        for buffer, value, count in floats:
            buffer.copy_(value.div_(count))
        _count_as_highest(counters, world)
        if any(n_changes):
            self._values = [buffer.clone() for buffer in buffers]


def _count_as_highest(counters: Sequence[Tensor], world: World) -> None:
    if not counters:
        return
    own = torch.stack([counter.reshape(()).cpu().long() for counter in counters])
    for counter, highest in zip(counters, gather_tensor(own, world).amax(0).tolist(), strict=True):
        counter.fill_(highest)


def _buffers(model: Model[Any, Any]) -> Iterable[Tensor]:
    for node in walk(model):
        for module in modules_of(node):
            for buffer in module.buffers():
                if buffer.is_floating_point() and buffer.numel() <= LARGEST or buffer.numel() == 1:
                    yield buffer
