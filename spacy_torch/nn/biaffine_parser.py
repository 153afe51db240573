"""Score arcs and their labels by products of what the tokens are as dependents and as heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.structured.arcs import N_DISTANCES, ArcFactors


class BiaffineParser(nn.Module):
    """An encoder and the deep biaffine scorers of Dozat and Manning.

    The paper (https://arxiv.org/abs/1611.01734) scores an arc as `d U h + u h` (equation 5) and
    its labels as `d V h + W (d, h) + b` (equation 3), where `d` and `h` are what one-layer
    networks make of the dependent's and the head's vectors. Different from it, the root is no
    token but a score of its own, and a linear layer on all four `d` and `h` tells how likely a
    sentence starts. Also, `d` and `h` each have a linear score for every kind of distance
    between the two, as vectors from a convolution do not tell the nearer of two like tokens.

    The labels' weights start at zero: an untrained parser prefers no label.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors.
        width: the size of these vectors.
        arc_width: the size of `d` and `h` for arcs.
        label_width: their size for labels.
        dropout: a module applied to the vectors, and to `d` and `h`.

    Raises:
        ValueError: a width is smaller than 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        arc_width: int,
        label_width: int,
        n_labels: int,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if min(arc_width, label_width) < 1:
            raise ValueError(
                f"arc_width and label_width must be at least 1, got {arc_width} and {label_width}"
            )
        self.encoder = encoder
        self.width = width
        self.sizes = (arc_width, arc_width, label_width, label_width)
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.project = nn.Linear(width, sum(self.sizes))
        self.start = nn.Linear(sum(self.sizes), 1)
        self.arc = nn.Linear(arc_width, arc_width)  # its bias is the u of the paper
        self.root = nn.Linear(arc_width, 1)
        self.dependent_distance = nn.Linear(arc_width, N_DISTANCES)
        self.head_distance = nn.Linear(arc_width, N_DISTANCES, bias=False)
        self.label_root = nn.Parameter(torch.zeros(label_width))
        self.label_weights = nn.Parameter(torch.zeros(label_width + 1, label_width + 1, n_labels))
        for layer in (self.dependent_distance, self.head_distance):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.dependent_distance.bias)
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, batch: Any) -> ArcFactors:
        """Encode a batch; returns what the scores of its arcs are products of.

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens = self.encoder(batch)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        vectors = self.dropout(tokens.values)
        hidden = self.dropout(F.leaky_relu(self.project(vectors), 0.1))
        dependents, heads, label_dependents, label_heads = hidden.split(self.sizes, 1)
        return ArcFactors(
            starts=self.start(hidden).squeeze(1),
            roots=self.root(dependents).squeeze(1),
            dependents=self.arc(dependents),
            heads=heads,
            dependent_distances=self.dependent_distance(dependents),
            head_distances=self.head_distance(heads),
            label_dependents=label_dependents,
            label_heads=label_heads,
            label_root=self.label_root,
            label_weights=self.label_weights,
        )
