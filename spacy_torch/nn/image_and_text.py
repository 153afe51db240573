"""Classify pictures and the texts beside them: the features of both, and one linear layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.image_classifier import PictureFeatures
from spacy_torch.nn.picture_batch import PictureBatch
from spacy_torch.nn.pooling import Pooling, build_pooling

if TYPE_CHECKING:
    from jaxtyping import Float


class ImageAndTextClassifier(nn.Module):
    """The features of a picture and the pooled vectors of its text, side by side.

    The linear layer starts at zero.

    Args:
        pictures: maps a `PictureBatch` to rows of features.
        n_features: how many these are.
        tokens: maps its batch to `Ragged` vectors.
        width: the size of these vectors.
        pooling: one way to pool them, or several.
        dropout: a module applied to all features.
    """

    def __init__(
        self,
        *,
        pictures: PictureFeatures,
        n_features: int,
        tokens: nn.Module,
        width: int,
        pooling: Sequence[Pooling],
        dropout: nn.Module,
        n_labels: int,
    ) -> None:
        super().__init__()
        if not pooling:
            raise ValueError("pooling must name at least one way to pool, got none")
        self.pictures = pictures
        self.tokens = tokens
        self.width = width
        self.pooling = nn.ModuleList(build_pooling(kind, width) for kind in pooling)
        self.dropout = dropout
        self.output = nn.Linear(n_features + width * len(pooling), n_labels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, batches: tuple[PictureBatch, Any]) -> Float[Tensor, "batch label"]:
        """Score a pair of batches, of the pictures and of the texts; returns logits.

        Raises:
            TypeError, ValueError: the encoder of tokens returned something else than vectors.
        """
        pictures, texts = batches
        tokens = self.tokens(texts)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        pooled = [pool(tokens) for pool in self.pooling]
        return self.output(self.dropout(torch.cat([self.pictures(pictures), *pooled], dim=1)))

    def learn_pool(self, batches: Iterable[tuple[PictureBatch, Any]]) -> None:
        """Let the encoder of pictures learn from those without labels, if it is one that does."""
        self.pictures.learn_pool(pictures for pictures, _ in batches)
