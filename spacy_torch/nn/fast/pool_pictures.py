"""Rows that stand for pictures, projected on what the pictures of a pool differ in most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.image_classifier import GridFeatures
from spacy_torch.nn.linear_algebra import eigh
from spacy_torch.nn.picture_batch import PictureBatch, RowCache
from spacy_torch.nn.picture_sample import read_sample

if TYPE_CHECKING:
    from jaxtyping import Float

N_PICTURES = 1000
CHUNK = 50


class PoolPictures(nn.Module):
    """Frozen features of pictures, on the main directions of the features of a pool.

    Directions that a small pool does not have, and before `learn_pool` all of them, are
    random: they keep the distances between pictures roughly as they are.

    Args:
        features: maps pixels to rows of features; nothing in it learns by gradient. May learn
            from the pool as well.
        n_features: how many features there are.
        width: how many directions are kept.
        cache_mb: how much is kept of what was computed, in megabytes.
    """

    def __init__(
        self, features: GridFeatures, *, n_features: int, width: int, cache_mb: float
    ) -> None:
        super().__init__()
        self.features = features
        self.width = width
        self.cache = RowCache(cache_mb)
        # Not buffers, of which the shim makes a copy in every update.
        self.mean = nn.Parameter(torch.zeros(n_features), requires_grad=False)
        directions = _draw_directions(n_features, width)
        self.weight = nn.Parameter(directions, requires_grad=False)

    def forward(self, batch: PictureBatch) -> Float[Tensor, "batch width"]:
        """Rows of length 1."""
        return self.cache.find(batch, self._project)

    @torch.no_grad()
    def learn_pool(self, batches: Iterable[PictureBatch]) -> None:
        """Take features and directions from pictures without labels.

        Of many pictures a thousand are looked at, drawn at random.

        Raises:
            ValueError: there are no pictures.
        """
        self.cache.clear()
        generator = torch.Generator().manual_seed(0)
        pictures = read_sample(batches, N_PICTURES, generator=generator)
        self.features.learn_pool(pictures)
        rows = self._read_features(pictures)
        self.mean.copy_(rows.mean(0))
        centred = (rows - self.mean).double()
        values, vectors = eigh(centred @ centred.T)  # ascending
        n_found = min(self.width, int((values > values[-1].clamp(min=1e-9) * 1e-6).sum()))
        main = values.argsort(descending=True)[:n_found]
        directions = (centred.T @ vectors[:, main]) / values[main].sqrt()
        # What is left of a random direction where the pool has its own.
        spare = _draw_directions(len(self.mean), self.width - n_found).to(directions)
        spare -= directions @ (directions.T @ spare)
        self.weight.copy_(torch.cat([directions, spare], dim=1))

    @torch.no_grad()
    def _project(self, pixels: Tensor) -> Tensor:
        return F.normalize((self._read_features(pixels) - self.mean) @ self.weight, dim=1)

    def _read_features(self, pixels: Tensor) -> Tensor:
        parts = torch.split(pixels, CHUNK)
        return torch.cat([F.normalize(self.features(part).float(), dim=1) for part in parts])


def _draw_directions(n_features: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(n_features, width, generator=generator)
    return directions / max(width, 1) ** 0.5
