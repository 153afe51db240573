"""The gradients of all ranks added up, before each of them makes the same step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from thinc.api import Model
from torch import Tensor

from spacy_torch.bridge.model import find_shims
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.distributed.buffers import ChangedBuffers
from spacy_torch.distributed.gradients import Gradient, TorchGradient, list_gradients
from spacy_torch.distributed.sparse_sum import SparseGradient, find_all_rows
from spacy_torch.distributed.tensors import gather_tensor, sum_tensors
from spacy_torch.distributed.world import World

# What a rank says of a parameter before the sum: one of these, or the rows of a sparse gradient.
ABSENT, DENSE = -2, -1
# What it says of a module: something was not finite.
LOSS, INPUT = 1, 2


class GradientSum:
    """Adds up gradients over the ranks of a world.

    spaCy's losses and ours are sums over a batch, so the sum over the ranks is the gradient of
    the batch that they share. A parameter without a gradient on some ranks counts as zeros
    there; one without on all ranks keeps none, so that momentum does not move it. Sparse
    gradients stay sparse. Running statistics become the mean over the ranks.

    What keeps one rank from a step, a loss or the gradient of an input that is not finite,
    keeps all of them from it.

    Attributes:
        n_bytes: how much this rank has put into sums so far.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.n_bytes = 0
        self._buffers: dict[int, ChangedBuffers] = {}

    def watch(self, model: Model[Any, Any]) -> None:
        """From now on, let the model's running statistics be the mean over the ranks."""
        self._buffers[id(model)] = ChangedBuffers(model)

    @torch.no_grad()
    def add(self, model: Model[Any, Any]) -> None:
        """Put into the place of each gradient of a model the sum over all ranks.

        To be called by all ranks after the last backward pass and before the step.

        Raises:
            NonFiniteError: a loss was not finite on another rank, and `non_finite` is "raise".
        """
        if self.world.size == 1:
            return
        gradients = list_gradients(model)
        shims = [shim for shim in find_shims(model) if shim.is_built]
        values = [gradient.read() for gradient in gradients]
        if id(model) not in self._buffers:
            self.watch(model)
        buffers = self._buffers[id(model)]
        changed = buffers.find()
        said = self._exchange([*map(_describe, values), *changed, *map(_find_damage, shims)])
        of_values, of_buffers, of_shims = said.split([len(values), len(changed), len(shims)], 1)
        self._add_up(gradients, values, of_values)
        buffers.share(of_buffers, self.world)
        for shim, damages in zip(shims, of_shims.T.tolist(), strict=True):
            _share_damage(shim, damages)
            shim.expect_no_backward()

    def _exchange(self, numbers: Sequence[int]) -> Tensor:
        """What each rank says, of shape (rank, number)."""
        return gather_tensor(torch.tensor(numbers, dtype=torch.int64), self.world)

    def _add_up(
        self, gradients: Sequence[Gradient], values: Sequence[Tensor | None], said: Tensor
    ) -> None:
        dense: list[tuple[Gradient, Tensor]] = []
        sparse: list[tuple[TorchGradient, SparseGradient]] = []
        for gradient, value, kinds in zip(gradients, values, said.T.tolist(), strict=True):
            if all(kind == ABSENT for kind in kinds):
                continue
            if DENSE in kinds or not isinstance(gradient, TorchGradient):
                dense.append((gradient, _as_dense(gradient, value)))
            else:
                n_rows = [max(kind, 0) for kind in kinds]
                sparse.append((gradient, SparseGradient(gradient.parameter, value, n_rows)))
        rows = find_all_rows([own for _, own in sparse], self.world)
        blocks = [own.spread(of_all) for (_, own), of_all in zip(sparse, rows, strict=True)]
        self.n_bytes += sum_tensors([*(value for _, value in dense), *blocks], self.world)
        for gradient, value in dense:
            gradient.write(value)
        for (gradient, own), of_all, block in zip(sparse, rows, blocks, strict=True):
            gradient.write(own.assemble(of_all, block))


def _describe(value: Tensor | None) -> int:
    if value is None:
        return ABSENT
    return value.indices().shape[1] if value.is_sparse else DENSE


def _as_dense(gradient: Gradient, value: Tensor | None) -> Tensor:
    if value is None:
        return gradient.zeros()
    return value.to_dense() if value.is_sparse else value


def _find_damage(shim: TorchShim) -> int:
    return LOSS * shim.loss_was_refused + INPUT * shim.input_is_damaged


def _share_damage(shim: TorchShim, damages: Sequence[int]) -> None:
    if any(damage & INPUT for damage in damages):
        shim.damage_input()
    if any(damage & LOSS for damage in damages):
        if shim.loss_was_refused:  # and counted; later batches of the step may have left more
            shim.undo_update()
        else:
            shim.refuse_step("the loss in another process")
    shim.loss_was_refused = False
