"""Tag the tokens of entities: encode, one linear layer, and a chain over the tags."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.biluo import count_tags
from spacy_torch.nn.structured.chain import TagScores, Transitions


class CRFTagger(nn.Module):
    """Encoder and one linear layer, a score per token and BILUO tag, and learned transitions.

    All of it starts at zero: untrained, every legal path is as likely as any other. The
    transitions that no entities have are not masked here but by those who use the scores.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors.
        width: the size of these vectors.
        n_labels: how many kinds of entities; see `nn.structured.biluo` for their tags.
        dropout: a module applied to the vectors.
    """

    def __init__(
        self, encoder: nn.Module, *, width: int, n_labels: int, dropout: nn.Module | None = None
    ) -> None:
        super().__init__()
        n_tags = count_tags(n_labels)
        self.encoder = encoder
        self.width = width
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.output = nn.Linear(width, n_tags)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.between = nn.Parameter(torch.zeros(n_tags, n_tags))
        self.start = nn.Parameter(torch.zeros(n_tags))
        self.end = nn.Parameter(torch.zeros(n_tags))

    def forward(self, batch: Any) -> TagScores:
        """Score a batch; the values of the emissions are of shape (token, tag).

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens = self.encoder(batch)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        emissions = Ragged(self.output(self.dropout(tokens.values)), tokens.lengths)
        return TagScores(emissions, Transitions(self.between, self.start, self.end))
