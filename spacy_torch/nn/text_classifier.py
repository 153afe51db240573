"""Classify a sequence: encode its tokens, pool them, score the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.pooling import Pooling, build_pooling


class TextClassifier(nn.Module):
    """Encoder, pooling and one linear layer.

    The linear layer starts at zero: an untrained classifier prefers no label, and added
    to another model's logits it changes nothing until it has learned something.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors.
        width: the size of these vectors.
        pooling: one way to pool, or several that are put side by side.
        dropout: a module applied to the pooled vector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        n_labels: int,
        pooling: Sequence[Pooling] = ("mean",),
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not pooling:
            raise ValueError("pooling must name at least one way to pool, got none")
        self.encoder = encoder
        self.width = width
        self.pooling = nn.ModuleList(build_pooling(kind, width) for kind in pooling)
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.output = nn.Linear(width * len(pooling), n_labels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: Any) -> Tensor:
        """Score a batch; returns logits of shape (batch, label).

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens = self.encoder(batch)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        pooled = torch.cat([pool(tokens) for pool in self.pooling], dim=1)
        return self.output(self.dropout(pooled))


class EnsembleClassifier(nn.Module):
    """A fast learner and a network whose logits are added.

    The fast one (a bag of n-grams) leads from the first examples on, and the network
    adds what it learns. Adding logits, and not mixing them in a further layer, lets the
    fast one reach the scores without waiting for that layer to be learned.

    Args:
        bag: maps its batch to logits of shape (batch, label).
        network: likewise.
    """

    def __init__(self, *, bag: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.bag = bag
        self.network = network

    def forward(self, batches: tuple[Any, Any]) -> Tensor:
        """Score a pair of batches; returns logits of shape (batch, label)."""
        ngrams, tokens = batches
        return self.bag(ngrams) + self.network(tokens)
