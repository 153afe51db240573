"""The loss of a batch, in a graph of its own behind the module's.

The loss is computed in float32 whatever the module's precision, and its gradient is looked at
before the module hears of it. Logits may come in any structure: a tensor, `Ragged`, a tuple.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacy_torch.bridge.tree import leaves, map_leaves, pair_leaves


def detach_logits(outputs: Any) -> Any:
    """The same structure, its float tensors as float32 leaves of a new graph."""
    return map_leaves(_detach, outputs)


def take_gradients(logits: Any) -> Any:
    """The gradients of detached logits in their structure, None where there is none."""
    return map_leaves(_gradient, logits)


def has_gradients(gradients: Any) -> bool:
    """Whether a loss has reached any of the logits."""
    return any(gradient is not None for gradient in leaves(gradients))


def check_loss_value(
    loss: object, *, component: str, loss_name: str, is_connected: bool | None = None
) -> Tensor:
    """The loss of a batch, if it is one that can be learned from.

    Args:
        is_connected: whether its gradient reached the logits, once that is known.

    Raises:
        TypeError: it is not one number that depends on the logits.
    """
    if not isinstance(loss, Tensor):
        what = "None" if loss is None else f"a {type(loss).__name__}"
    elif loss.ndim:
        what = f"a tensor of shape {tuple(loss.shape)}"
    elif not (loss.requires_grad if is_connected is None else is_connected):
        what = "a number that does not depend on them"
    else:
        return loss
    raise TypeError(
        f"{component!r}: the loss {loss_name} must give one number that depends on the "
        f"logits, but it gave {what}: sum over the batch with .sum(), and avoid .item(), "
        "detach(), argmax and NumPy on the way"
    )


def squared_distance(before: Any, logits: Any) -> Tensor:
    """Half the squared distance to other logits, which may lack the ends of some axes."""
    # Labels added since then, the ends of their axes, have no logits before.
    distances = [
        ((now[tuple(map(slice, old.shape))] - old) ** 2).sum() / 2
        for old, now in pair_leaves(before, logits)
        if isinstance(old, Tensor) and old.is_floating_point()
    ]
    return torch.stack(distances).sum()


def _detach(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.detach().float().requires_grad_()
    return leaf


def _gradient(leaf: Any) -> Any:
    return leaf.grad if isinstance(leaf, Tensor) else None
