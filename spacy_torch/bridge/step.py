"""One optimizer step for a torch module, whatever the optimizer is."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from thinc.optimizers import Optimizer
from torch import nn

from spacy_torch.bridge.foreign_step import foreign_step
from spacy_torch.bridge.gradients import find_non_finite as find_non_finite
from spacy_torch.bridge.gradients import gradient_norms as gradient_norms
from spacy_torch.bridge.schedule_position import count_schedules
from spacy_torch.bridge.stock_step import stock_step
from spacy_torch.bridge.torch_optimizer import TorchOptimizer


def step(
    optimizer: Optimizer | Callable[..., Any],
    parameters: Mapping[str, nn.Parameter],
    *,
    shim_id: int,
    norms: Mapping[str, float] | None = None,
) -> None:
    """Move every parameter that has a gradient, then drop the gradients.

    `parameters` are all of the module by name, those without a gradient too: patterns of
    parameter groups are held against them. `norms` is what `gradient_norms(parameters)` gave,
    if it has been called for this step.
    """
    if isinstance(optimizer, Optimizer):
        count_schedules(optimizer)
    with torch.no_grad():
        if isinstance(optimizer, TorchOptimizer):
            optimizer.step(parameters, shim_id=shim_id, norms=norms)
        elif isinstance(optimizer, Optimizer) and type(optimizer) is Optimizer:
            stock_step(optimizer, parameters, shim_id=shim_id, norms=norms)
        else:
            foreign_step(optimizer, parameters, shim_id=shim_id)
    for parameter in parameters.values():
        parameter.grad = None
