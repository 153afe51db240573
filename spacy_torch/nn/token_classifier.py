"""Classify each token: encode, then one linear layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.ragged import Ragged


class TokenClassifier(nn.Module):
    """Encoder and one linear layer, a row of logits per token.

    The linear layer starts at zero: an untrained classifier prefers no label.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors.
        width: the size of these vectors.
        dropout: a module applied to the vectors.
    """

    def __init__(
        self, encoder: nn.Module, *, width: int, n_labels: int, dropout: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = width
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.output = nn.Linear(width, n_labels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: Any) -> Ragged:
        """Score a batch; returns logits of shape (token, label) as the values.

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens = self.encoder(batch)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        return Ragged(self.output(self.dropout(tokens.values)), tokens.lengths)
