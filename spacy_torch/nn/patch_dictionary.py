"""Features of small patches, learned from pictures without labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.picture_sample import sample_pictures

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# Added to the variance of a patch (of bytes from 0 to 255), so that noise is not blown up.
CONTRAST = 10.0
# Added to the variances of the normalized patches before they are whitened.
WHITENING = 0.1
ROUNDS = 10
N_PICTURES = 1000
N_PATCHES = 60_000
PER_PICTURE = 500
# Numbers of a layer of codes that is in memory at once: 64 MiB.
CHUNK = 2**24


class PatchDictionary(nn.Module):
    """How much of each pattern of a dictionary is in each part of a picture.

    What bags of words are for text: local features, a dictionary of them, and their counts.
    After Coates, Lee and Ng (2011, https://proceedings.mlr.press/v15/coates11a.html) and
    Coates and Ng (2011): patches are normalized in contrast and whitened (ZCA), the
    dictionary is found by spherical k-means, and a patch is described by how far it
    exceeds a threshold along each pattern. The patches of all places are described at once,
    as all of this but the contrast is linear: one convolution.

    Nothing here learns by gradient. `learn_pool` finds the dictionary; until then, the
    patterns are random.

    Args:
        width: the number of patterns, the channels of the map.
        patch: pixels of a side of a patch.
        step: pixels between patches.
        stride: pixels of a side of a cell of the map, whose value is the average over its
            patches. A multiple of `step`.
        threshold: what a patch must exceed along a pattern.
    """

    filters: Tensor
    offsets: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, *, width: int, patch: int, step: int, stride: int, threshold: float) -> None:
        super().__init__()
        if min(width, patch, step, stride) < 1:
            raise ValueError(
                "width, patch, step and stride must be at least 1, got "
                f"{width}, {patch}, {step} and {stride}"
            )
        if stride % step:
            raise ValueError(f"stride must be a multiple of step, got {stride} and {step}")
        self.patch = patch
        self.step = step
        self.stride = stride
        self.threshold = threshold
        generator = torch.Generator().manual_seed(0)
        patterns = _normalize(torch.randn(width, 3 * patch * patch, generator=generator))
        self.register_buffer("filters", torch.empty(width, 3, patch, patch))
        self.register_buffer("offsets", torch.empty(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self._set_patterns(patterns, mean=torch.zeros(3 * patch * patch))

    def forward(
        self, pixels: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel row column"]:
        """Describe pictures of any size; each channel has mean 0 and variance 1 in the pool."""
        averages = self._average_codes(pixels)
        return (averages - self.mean.view(-1, 1, 1)) / self.deviation.view(-1, 1, 1)

    @torch.no_grad()
    def learn_pool(self, batches: Iterable[UInt8[Tensor, "batch 3 height width"]]) -> None:
        """Find the dictionary in pictures that need no labels.

        The same pictures in the same order give the same dictionary. Of many pictures a
        thousand are looked at, drawn at random; nothing else is kept in memory.

        Raises:
            ValueError: there are no pictures, or they are smaller than a patch.
        """
        generator = torch.Generator().manual_seed(0)
        pictures = sample_pictures(batches, N_PICTURES, generator=generator)
        if min(pictures.shape[-2:]) < self.patch:
            raise ValueError(
                f"pictures of {tuple(pictures.shape[-2:])} pixels are smaller than a patch of "
                f"{self.patch}: raise the encoder's size or lower its patch"
            )
        n_patches = min(N_PATCHES, PER_PICTURE * len(pictures))
        patches = _cut_patches(pictures, self.patch, n_patches, generator=generator)
        patches = patches - patches.mean(1, keepdim=True)
        patches /= (patches.square().mean(1, keepdim=True) + CONTRAST).sqrt()
        mean = patches.mean(0)
        whitening = _find_whitening(patches - mean)
        patterns = _spherical_k_means((patches - mean) @ whitening, len(self.offsets), generator)
        self._set_patterns(patterns @ whitening, mean=mean)
        averages = torch.cat([self._average_codes(part) for part in torch.split(pictures, 50)])
        channels = averages.transpose(0, 1).flatten(1)
        self.mean.copy_(channels.mean(1))
        # A pattern that no patch comes near tells nothing: its channel stays at about zero.
        self.deviation.copy_(channels.std(1).clamp(min=1e-3))

    def _set_patterns(self, patterns: Tensor, *, mean: Tensor) -> None:
        # Along (x - mean(x)) / d - m a pattern p gives p x / d - p m, for p without its own mean.
        self.offsets.copy_(patterns @ mean)
        centred = patterns - patterns.mean(1, keepdim=True)
        self.filters.copy_(centred.view_as(self.filters))

    def _average_codes(self, pixels: Tensor) -> Tensor:
        rows, columns = (-(-side // self.stride) for side in pixels.shape[-2:])
        n_codes = len(self.offsets) * rows * columns * (self.stride // self.step) ** 2
        parts = torch.split(pixels, max(1, CHUNK // n_codes))
        return torch.cat([self._average_codes_of_few(part) for part in parts])

    def _average_codes_of_few(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        before = (self.patch - 1) // 2
        behind = self.patch - 1 - before
        # So that there is a patch about every pixel, and a whole number of cells.
        below, right = -height % self.stride, -width % self.stride
        x = F.pad(
            pixels.to(self.filters.dtype) - 127.5,
            (before, behind + right, before, behind + below),
            mode="replicate",
        )
        codes = F.conv2d(x, self.filters, stride=self.step)
        codes *= _inverse_contrast(x, self.patch, self.step)
        codes -= (self.offsets + self.threshold).view(-1, 1, 1)
        return F.avg_pool2d(codes.relu_(), self.stride // self.step)


def _inverse_contrast(x: Tensor, patch: int, step: int) -> Tensor:
    mean = F.avg_pool2d(x.mean(1, keepdim=True), patch, step)
    square = F.avg_pool2d(x.square().mean(1, keepdim=True), patch, step)
    return (square - mean.square() + CONTRAST).clamp(min=CONTRAST).rsqrt()


def _cut_patches(
    pictures: Tensor, patch: int, n_patches: int, *, generator: torch.Generator
) -> Tensor:
    """Patches from random places, one row of numbers each."""
    views = pictures.unfold(2, patch, 1).unfold(3, patch, 1)
    n_pictures, _, rows, columns = views.shape[:4]

    def draw(n: int) -> Tensor:
        return torch.randint(n, (n_patches,), generator=generator).to(pictures.device)

    return views[draw(n_pictures), :, draw(rows), draw(columns)].float().flatten(1)


def _find_whitening(centred: Tensor) -> Tensor:
    covariance = centred.T @ centred / len(centred)
    variances, directions = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(covariance))  # pyright: ignore[reportUnknownMemberType]
    return (directions * (variances.clamp(min=0) + WHITENING).rsqrt()) @ directions.T


def _spherical_k_means(points: Tensor, n_patterns: int, generator: torch.Generator) -> Tensor:
    """Directions of length 1 along which the points lie, each in proportion to its length."""
    first = torch.randint(len(points), (n_patterns,), generator=generator).to(points.device)
    patterns = _normalize(points[first])
    for _ in range(ROUNDS):
        lengths, nearest = (points @ patterns.T).max(1)
        weighted = points * lengths.clamp(min=0).unsqueeze(1)
        # The former direction, once more: a pattern that no point is near stays what it is.
        patterns = _normalize(patterns.index_add(0, nearest, weighted))
    return patterns


def _normalize(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1)
