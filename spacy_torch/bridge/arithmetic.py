"""The arithmetic of the optimizers, in torch's kernels, on the blocks of one step.

`torch.optim`'s functions are used rather than its classes: state stays where Thinc keeps it,
under names that survive saving, resizing and moving, and rows of a table are just another
block.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.radam import radam
from torch.optim.sgd import sgd

from spacy_torch.bridge.blocks import Block

# Where every torch from 2.4 on has fused Adam, AdamW and SGD.
FUSED_DEVICES = ("cpu", "cuda")


def adamw_(
    blocks: Sequence[Block],
    *,
    learn_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    eps_is_corrected: bool = True,
) -> None:
    """AdamW: shrink the weights by `learn_rate * weight_decay`, then move them.

    Torch adds `eps` to the bias-corrected root of the second moment. With `eps_is_corrected`
    off it is added to the raw root, as in Thinc.
    """
    for step, group in _alike(blocks):
        correction = 1.0 if eps_is_corrected else (1.0 - betas[1] ** step) ** 0.5
        adamw(
            *_adam_tensors(group, step=step),
            fused=_is_fused(group),
            foreach=False,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=learn_rate,
            weight_decay=weight_decay,
            eps=eps / correction,
            maximize=False,
        )


def adam_(
    blocks: Sequence[Block],
    *,
    learn_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Adam with `weight_decay * weight` added to the gradient (L2 regularisation)."""
    for step, group in _alike(blocks):
        adam(
            *_adam_tensors(group, step=step),
            fused=_is_fused(group),
            foreach=False,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=learn_rate,
            weight_decay=weight_decay,
            eps=eps,
            maximize=False,
        )


def radam_(
    blocks: Sequence[Block],
    *,
    learn_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Rectified Adam; decays like `adamw_`."""
    for step, group in _alike(blocks):
        weights, gradients, mom1, mom2, _, steps = _adam_tensors(group, step=step)
        radam(
            weights,
            gradients,
            mom1,
            mom2,
            steps,
            decoupled_weight_decay=True,
            foreach=group[0].weight.is_cuda,
            beta1=betas[0],
            beta2=betas[1],
            lr=learn_rate,
            weight_decay=weight_decay,
            eps=eps,
        )


def sgd_(
    blocks: Sequence[Block],
    *,
    learn_rate: float,
    weight_decay: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Gradient descent, with momentum if the blocks have a moment; decays like `adamw_`."""
    for _, group in _alike(blocks):
        if weight_decay:
            kept = 1.0 - learn_rate * weight_decay
            scale_([block.weight for block in group], [kept] * len(group))
        buffers: list[Tensor | None] = [
            block.moments[0] if block.moments else None for block in group
        ]
        sgd(
            [block.weight for block in group],
            [block.gradient for block in group],
            buffers,
            fused=_is_fused(group),
            foreach=False,
            weight_decay=0.0,
            momentum=momentum,
            lr=learn_rate,
            dampening=0.0,
            nesterov=nesterov,
            maximize=False,
        )


def scale_(tensors: Sequence[Tensor], factors: Sequence[float]) -> None:
    """Multiply each tensor (all on one device) by its own factor."""
    if tensors:
        # One kernel for all on a GPU; torch has no public function that does this.
        torch._foreach_mul_(list(tensors), list(factors))  # pyright: ignore


def _alike(blocks: Sequence[Block]) -> Iterable[tuple[int, list[Block]]]:
    """The blocks in groups of one device and one step count."""
    groups: dict[tuple[torch.device, int], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block.weight.device, block.step), []).append(block)
    for (_, step), group in groups.items():
        yield step, group


def _adam_tensors(group: Sequence[Block], *, step: int) -> tuple[list[Tensor], ...]:
    # Torch counts each tensor's step up itself, before it uses it.
    steps = torch.full((len(group),), float(step - 1), device=group[0].weight.device)
    return (
        [block.weight for block in group],
        [block.gradient for block in group],
        [block.moments[0] for block in group],
        [block.moments[1] for block in group],
        [],
        list(steps.unbind()),
    )


def _is_fused(group: Sequence[Block]) -> bool:
    return group[0].weight.device.type in FUSED_DEVICES
