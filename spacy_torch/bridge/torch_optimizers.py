"""The optimizers that a config can name, besides Thinc's."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from thinc.optimizers import FloatOrSeq

from spacy_torch.bridge.arithmetic import adam_, adamw_, radam_, sgd_
from spacy_torch.bridge.torch_optimizer import TorchOptimizer


def build_adamw(
    learn_rate: FloatOrSeq = 0.001,
    *,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    groups: Sequence[dict[str, Any]] = (),
    use_averages: bool = False,
) -> TorchOptimizer:
    """Adam with decoupled weight decay."""
    return TorchOptimizer(
        partial(adamw_, betas=(beta1, beta2), eps=eps),
        kind="AdamW",
        n_moments=2,
        learn_rate=learn_rate,
        weight_decay=weight_decay,
        betas=(beta1, beta2),
        eps=eps,
        grad_clip=grad_clip,
        groups=groups,
        use_averages=use_averages,
    )


def build_adam(
    learn_rate: FloatOrSeq = 0.001,
    *,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    groups: Sequence[dict[str, Any]] = (),
    use_averages: bool = False,
) -> TorchOptimizer:
    """Adam; `weight_decay` is an L2 penalty added to the gradients."""
    return TorchOptimizer(
        partial(adam_, betas=(beta1, beta2), eps=eps),
        kind="Adam",
        n_moments=2,
        learn_rate=learn_rate,
        weight_decay=weight_decay,
        decay_is_penalty=True,
        betas=(beta1, beta2),
        eps=eps,
        grad_clip=grad_clip,
        groups=groups,
        use_averages=use_averages,
    )


def build_radam(
    learn_rate: FloatOrSeq = 0.001,
    *,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    groups: Sequence[dict[str, Any]] = (),
    use_averages: bool = False,
) -> TorchOptimizer:
    """Rectified Adam with decoupled weight decay."""
    return TorchOptimizer(
        partial(radam_, betas=(beta1, beta2), eps=eps),
        kind="RAdam",
        n_moments=2,
        learn_rate=learn_rate,
        weight_decay=weight_decay,
        betas=(beta1, beta2),
        eps=eps,
        grad_clip=grad_clip,
        groups=groups,
        use_averages=use_averages,
    )


def build_sgd(
    learn_rate: FloatOrSeq = 0.01,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    grad_clip: float = 1.0,
    groups: Sequence[dict[str, Any]] = (),
    use_averages: bool = False,
) -> TorchOptimizer:
    """Gradient descent, with momentum for torch parameters; weight decay is decoupled."""
    if nesterov and not momentum > 0:
        raise ValueError(f"nesterov needs a momentum > 0, got {momentum}")
    return TorchOptimizer(
        partial(sgd_, momentum=momentum, nesterov=nesterov),
        kind="SGD",
        n_moments=1 if momentum else 0,
        learn_rate=learn_rate,
        weight_decay=weight_decay,
        grad_clip=grad_clip,
        groups=groups,
        use_averages=use_averages,
    )
