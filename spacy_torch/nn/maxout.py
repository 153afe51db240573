"""The largest of several linear maps, normalized: spaCy's non-linearity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spacy_torch.nn.dropout import build_dropout

if TYPE_CHECKING:
    from jaxtyping import Float


class MaxoutNorm(nn.Module):
    """Maxout (https://arxiv.org/abs/1302.4389), layer normalization and dropout.

    Args:
        inputs: the size of the vectors that come in.
        pieces: how many linear maps the largest value is taken of.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
    """

    def __init__(self, inputs: int, *, width: int, pieces: int, dropout: float | None) -> None:
        super().__init__()
        for name, size in {"width": width, "pieces": pieces, "inputs": inputs}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.pieces = pieces
        # The pieces' outputs stand in blocks side by side: as plain rows they are one
        # matrix product, and their maximum runs over contiguous memory.
        self.weight = nn.Parameter(torch.empty(inputs, pieces * width))
        self.bias = nn.Parameter(torch.zeros(pieces * width))
        # Thinc's epsilon.
        self.norm = nn.LayerNorm(width, eps=1e-8)
        self.dropout = build_dropout(dropout)
        # Thinc's bound for a weight of (width, pieces, inputs). It is wider than
        # Glorot's for a matrix; behind a norm this only makes the first steps smaller.
        bound = math.sqrt(6.0 / (width + pieces))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, values: Float[Tensor, "row inputs"]) -> Float[Tensor, "row width"]:
        """Map each row."""
        return self.activate(F.linear(values, self.weight.t(), self.bias))

    def activate(self, pieces: Float[Tensor, "row pieces*width"]) -> Float[Tensor, "row width"]:
        """What follows the linear maps: maximum, norm and dropout."""
        largest = maxout(pieces, self.pieces)
        return self.dropout(self.norm(largest.to(self.norm.weight.dtype)))


def maxout(values: Float[Tensor, "row pieces*width"], pieces: int) -> Float[Tensor, "row width"]:
    """The largest of the blocks of each row; of equal ones the first gets the gradient."""
    if pieces == 1:
        return values
    if torch.is_grad_enabled() and values.requires_grad:
        return cast("Tensor", _Maxout.apply(values, pieces))  # pyright: ignore[reportUnknownMemberType]
    largest, *others = torch.chunk(values, pieces, dim=1)
    # Faster than torch.amax where the rows lie in the cache, and as fast elsewhere.
    for other in others:
        largest = torch.maximum(largest, other)
    return largest


class _Maxout(torch.autograd.Function):
    """Three times as fast as the gradient of `torch.max`, which keeps an index per value.

    What is kept are masks of the values' own type: a product with a bool mask would
    convert it each time.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, pieces: int) -> Tensor:
        largest, *others = torch.chunk(values, pieces, dim=1)
        wins: list[Tensor] = []
        for other in others:
            wins.append(torch.gt(other, largest, out=torch.empty_like(other)))
            largest = torch.maximum(largest, other)
        ctx.save_for_backward(*wins)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (grad,) = grad_outputs
        wins: tuple[Tensor, ...] = ctx.saved_tensors
        rows, width = grad.shape
        gradients = grad.new_empty(rows, len(wins) + 1, width)
        for piece in range(len(wins), 0, -1):
            taken = torch.mul(grad, wins[piece - 1], out=gradients[:, piece])
            grad = grad - taken
        gradients[:, 0] = grad
        return gradients.flatten(1), None
