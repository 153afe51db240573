"""One optimizer step for a torch module, whatever the optimizer is."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from thinc.optimizers import Optimizer
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from spacy_torch.bridge.foreign_step import ShownArray, foreign_step
from spacy_torch.bridge.schedule_position import count_schedules
from spacy_torch.bridge.stock_step import stock_step
from spacy_torch.bridge.torch_optimizer import TorchOptimizer


def step(
    optimizer: Optimizer | Callable[..., Any],
    parameters: Mapping[str, nn.Parameter],
    *,
    shim_id: int,
    norms: Mapping[str, float] | None = None,
    owner: str | None = None,
) -> list[ShownArray]:
    """Move every parameter that has a gradient, then drop the gradients.

    `parameters` are all of the module by name, those without a gradient too: patterns of
    parameter groups are held against them. `norms` is what `gradient_norms(parameters)` gave,
    if it has been called for this step. `owner` is the component's name, for the patterns.

    Returns:
        References to arrays through which the optimizer may still move the parameters (see
        `foreign_step`); whoever keeps them calls `count_change` while one of them lives.
    """
    shown: list[ShownArray] = []
    stepped = [parameter for parameter in parameters.values() if parameter.grad is not None]
    if isinstance(optimizer, Optimizer):
        count_schedules(optimizer)
    with torch.no_grad():
        if isinstance(optimizer, TorchOptimizer):
            optimizer.step(parameters, shim_id=shim_id, norms=norms, owner=owner)
        elif isinstance(optimizer, Optimizer) and type(optimizer) is Optimizer:
            stock_step(optimizer, parameters, shim_id=shim_id, norms=norms)
        else:
            shown = foreign_step(optimizer, parameters, shim_id=shim_id)
    count_change(stepped)
    for parameter in stepped:
        parameter.grad = None
    return shown


def count_change(tensors: Iterable[Tensor]) -> None:
    """Let torch's version counters say that the tensors have changed.

    Torch's fused optimizers and writes through NumPy do not count, and what was computed
    from the weights and kept, such as the token vectors of a prediction, would stay.
    """
    for tensor in tensors:
        increment_version(tensor)
