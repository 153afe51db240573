"""Modules that turn a sequence of vectors into one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Float

Pooling = Literal["mean", "max", "first", "last", "attention"]


class MeanPooling(nn.Module):
    """The average vector of each sequence; an empty one gives zeros."""

    def forward(self, tokens: Ragged) -> Float[Tensor, "batch width"]:
        """Average each sequence's vectors."""
        return tokens.mean()


class MaxPooling(nn.Module):
    """The largest value of each column in each sequence; an empty one gives zeros."""

    def forward(self, tokens: Ragged) -> Float[Tensor, "batch width"]:
        """Take each column's largest value in each sequence."""
        return tokens.max()


class FirstPooling(nn.Module):
    """The first vector of each sequence; an empty one gives zeros."""

    def forward(self, tokens: Ragged) -> Float[Tensor, "batch width"]:
        """Take each sequence's first vector."""
        return tokens.first()


class LastPooling(nn.Module):
    """The last vector of each sequence; an empty one gives zeros."""

    def forward(self, tokens: Ragged) -> Float[Tensor, "batch width"]:
        """Take each sequence's last vector."""
        return tokens.last()


class AttentionPooling(nn.Module):
    """A weighted sum of each sequence's vectors, the weights learned by attention.

    The query starts at zero, that is with the mean. An empty sequence gives zeros.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Ragged) -> Float[Tensor, "batch width"]:
        """Weigh and add up each sequence's vectors."""
        scores = (tokens.values @ self.query).unsqueeze(1).float()  # token, 1
        weights = Ragged(scores, tokens.lengths).softmax().values
        weighted = tokens.values * weights.to(tokens.values.dtype)
        return Ragged(weighted, tokens.lengths).sum()


def build_pooling(kind: Pooling, width: int) -> nn.Module:
    """The pooling module of that name, for vectors of that width."""
    if kind == "mean":
        return MeanPooling()
    if kind == "max":
        return MaxPooling()
    if kind == "first":
        return FirstPooling()
    if kind == "last":
        return LastPooling()
    if kind == "attention":
        return AttentionPooling(width)
    raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {kind!r}")
