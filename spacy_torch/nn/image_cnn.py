"""A small convolutional network that learns to read pictures from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.pixels import scale_pixels

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class ImageCNN(nn.Module):
    """Stages of convolutions, each of which halves the sides of the map.

    What is normalized is each picture on its own (Wu and He 2018,
    https://arxiv.org/abs/1803.08494): statistics of batches, as in batch normalization, are
    wrong for a long time where a model learns from ten examples at a time and answers in
    between.

    Args:
        width: the channels of the map. The stages before the last have half as many, a
            quarter, ...
        depth: the number of stages; a cell of the map stands for 2^depth pixels.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        if width < 1 or width % 2 ** (depth - 1):
            raise ValueError(
                f"width must be a multiple of 2 to the power of depth - 1 = {2 ** (depth - 1)}, as "
                f"the stages have a half, a quarter, ... of it, got {width}"
            )
        channels = [3, *(width // 2 ** (depth - 1 - stage) for stage in range(depth))]
        self.stages = nn.Sequential(
            *(_Stage(channels[stage], channels[stage + 1]) for stage in range(depth))
        )

    def forward(
        self, pixels: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel row column"]:
        """Map pictures of any size to their features."""
        return self.stages(scale_pixels(pixels))


class _Stage(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(n_inputs, n_outputs, 3, stride=2, padding=1, bias=False)
        self.reduce_norm = _group_norm(n_outputs)
        self.mix = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.mix_norm = _group_norm(n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.reduce_norm(self.reduce(x)))
        return x + F.relu(self.mix_norm(self.mix(x)))


def _group_norm(channels: int) -> nn.GroupNorm:
    n_groups = next(n for n in (8, 4, 2, 1) if channels % n == 0)
    return nn.GroupNorm(n_groups, channels)
