"""Thinc's own Adam, RAdam and SGD, number for number, for all tensors of a module at once."""

import math
from collections.abc import Mapping, Sequence

from thinc.optimizers import Optimizer
from torch import nn

from spacy_torch.bridge.arithmetic import adamw_, sgd_
from spacy_torch.bridge.blocks import Block, gather_blocks, store_blocks
from spacy_torch.bridge.gradients import tensor_norms


def stock_step(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    *,
    shim_id: int,
    norms: Mapping[str, float] | None = None,
) -> None:
    """Move every parameter that has a gradient as `Optimizer.__call__` would.

    Rows of a table that have no entry in its sparse gradient stay as they are: no momentum,
    no decay. Their averages are the ones that Thinc would compute.
    """
    n_moments = _n_moments(optimizer)
    blocks = gather_blocks(optimizer, parameters, shim_id=shim_id, n_moments=n_moments)
    if optimizer.L2 and not optimizer.L2_is_weight_decay:
        for block in blocks:
            block.gradient.add_(block.weight, alpha=optimizer.L2)
        norms = None  # they were those of the gradients without the penalty
    if optimizer.grad_clip:
        _clip_each(blocks, norms=norms, threshold=optimizer.grad_clip)
    weight_decay = optimizer.L2 if optimizer.L2_is_weight_decay else 0.0
    # Thinc decays after the move, (w - u) * kept, torch before it, w * kept - u: the same
    # thing if the move is made smaller by the factor too.
    kept = 1.0 - optimizer.learn_rate * weight_decay
    if optimizer.use_radam:
        _radam(optimizer, blocks, decayed=optimizer.learn_rate * weight_decay)
    elif n_moments:
        adamw_(
            blocks,
            learn_rate=optimizer.learn_rate * kept,
            weight_decay=weight_decay / kept,
            betas=(optimizer.b1, optimizer.b2),
            eps=optimizer.eps,
            eps_is_corrected=False,
        )
    else:
        sgd_(blocks, learn_rate=optimizer.learn_rate * kept, weight_decay=weight_decay / kept)
    store_blocks(blocks)


def _n_moments(optimizer: Optimizer) -> int:
    if optimizer.use_radam or (optimizer.b1 > 0.0 and optimizer.b2 > 0.0):
        return 2
    if optimizer.b2 > 0.0:
        raise ValueError(
            f"beta1 must be > 0 if beta2 is, got beta1 = {optimizer.b1}, beta2 = {optimizer.b2}: "
            "use SGD.v1 to train without moments"
        )
    return 0


def _clip_each(
    blocks: Sequence[Block], *, norms: Mapping[str, float] | None, threshold: float
) -> None:
    if norms is None:
        found = tensor_norms([block.gradient for block in blocks])
        norms = dict(zip((block.name for block in blocks), found, strict=True))
    for block in blocks:
        if norms[block.name] >= threshold:
            block.gradient.mul_(threshold / norms[block.name])


def _radam(optimizer: Optimizer, blocks: Sequence[Block], *, decayed: float) -> None:
    """Thinc's RAdam corrects its biases for one step more than it has made."""
    for block in blocks:
        mom1, mom2 = block.moments
        mom1.lerp_(block.gradient, 1 - optimizer.b1)
        mom2.mul_(optimizer.b2).addcmul_(block.gradient, block.gradient, value=1 - optimizer.b2)
        scale, is_rectified = _radam_scale(block.step + 1, b1=optimizer.b1, b2=optimizer.b2)
        size = -scale * optimizer.learn_rate
        if is_rectified:
            block.weight.addcdiv_(mom1, mom2.sqrt().add_(optimizer.eps), value=size)
        else:
            block.weight.add_(mom1, alpha=size)
        if decayed:
            block.weight.sub_(block.weight, alpha=decayed)


def _radam_scale(step: int, *, b1: float, b2: float) -> tuple[float, bool]:
    """The step size beside the learning rate, and whether the second moment is used yet.

    Liu et al. 2020, https://arxiv.org/abs/1908.03265, algorithm 2.
    """
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * step * b2**step / (1 - b2**step)
    correction1 = 1 - b1**step
    if length < 5:
        return 1.0 / correction1, False
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return math.sqrt((1 - b2**step) * rectified) / correction1, True
