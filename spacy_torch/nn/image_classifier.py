"""Classify pictures: encode their pixels, pool the map over a grid, score the labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.augmentation import Augmentation
from spacy_torch.nn.picture_batch import PictureBatch, RowCache
from spacy_torch.nn.picture_sample import read_sample

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

N_PICTURES = 1000


class GridFeatures(nn.Module):
    """A feature map, averaged over the cells of a grid.

    Args:
        encoder: maps pixels to (batch, width, row, column).
        width: the channels of the map.
        grid: cells of a side; with 1, it does not matter where in a picture something is.
    """

    def __init__(self, encoder: nn.Module, *, width: int, grid: int) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        self.encoder = encoder
        self.grid = grid
        self.n_features = width * grid * grid

    def forward(self, pixels: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch feature"]:
        """A row of features for each picture."""
        features: Tensor = self.encoder(pixels)
        if not len(features):  # which the pooling refuses
            return features.new_zeros(0, self.n_features)
        return F.adaptive_avg_pool2d(features, self.grid).flatten(1)

    @torch.no_grad()
    def learn_pool(self, pixels: UInt8[Tensor, "picture 3 side side"]) -> None:
        """Let the encoder learn from pictures without labels, if it is one that does."""
        learn = getattr(self.encoder, "learn_pool", None)
        if callable(learn):
            learn([pixels])


class PictureFeatures(nn.Module):
    """The features of a batch of pictures, nothing of which is computed twice without need.

    The features of a frozen encoder are kept, for others the decoded pixels.

    Args:
        features: maps pixels to rows of features.
        is_frozen: nothing in it learns.
        augmentation: the views that training sees.
        cache_mb: how much is kept, in megabytes.
    """

    def __init__(
        self,
        features: GridFeatures,
        *,
        is_frozen: bool,
        augmentation: Augmentation,
        cache_mb: float,
    ) -> None:
        super().__init__()
        self.features = features
        self.is_frozen = is_frozen
        self.augmentation = augmentation
        self.cache = RowCache(cache_mb)

    def forward(self, batch: PictureBatch) -> Float[Tensor, "batch feature"]:
        """A row of features for each picture; in training, of a view of it."""
        is_augmented = self.training and bool(self.augmentation)
        if self.is_frozen:
            if is_augmented:
                return self.features(self.augmentation.draw(batch.read_all()))
            return self.cache.find(batch, self.features)
        pixels = self.cache.find(batch, lambda pixels: pixels) if self.training else None
        if pixels is None:  # predicting once is rather done without filling a cache
            pixels = batch.read_all()
        return self.features(self.augmentation.draw(pixels) if is_augmented else pixels)

    def learn_pool(self, batches: Iterable[PictureBatch]) -> None:
        """Let the encoder learn from pictures without labels, if it is one that does.

        Of many pictures a thousand are looked at, drawn at random.

        Raises:
            ValueError: there are no pictures, and the encoder would learn from them.
        """
        if not hasattr(self.features.encoder, "learn_pool"):
            return
        self.cache.clear()
        generator = torch.Generator().manual_seed(0)
        self.features.learn_pool(read_sample(batches, N_PICTURES, generator=generator))


class ImageClassifier(nn.Module):
    """The features of pictures and one linear layer, which starts at zero.

    Args:
        features: maps a batch to rows of features.
        n_features: how many these are.
        dropout: a module applied to them.
    """

    def __init__(
        self, features: PictureFeatures, *, n_features: int, n_labels: int, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.features = features
        self.dropout = dropout
        self.output = nn.Linear(n_features, n_labels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: PictureBatch) -> Float[Tensor, "batch label"]:
        """Score a batch; returns logits."""
        return self.output(self.dropout(self.features(batch)))

    def learn_pool(self, batches: Iterable[PictureBatch]) -> None:
        """Let the encoder learn from pictures without labels, if it is one that does."""
        self.features.learn_pool(batches)
