"""A torch module of the user's that reads pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from typing_extensions import override

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class ImageModule(nn.Module):
    """Any module from scaled pixels to a feature map, or to one vector per picture.

    Args:
        module: takes floats of shape (batch, 3, height, width) and gives (batch, channel,
            row, column), or (batch, channel), which becomes a map of one cell.
        width: the number of channels that it gives.
        mean, deviation: of red, green and blue, from 0 to 1; the pixels are scaled by them.
        freeze: learn nothing, and stay in evaluation mode.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        width: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        freeze: bool,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
            raise ValueError(
                "mean and deviation must be three numbers, for red, green and blue, from 0 to 1 "
                f"and the deviations above 0, got {list(mean)} and {list(deviation)}"
            )
        self.module = module
        self.width = width
        self.freeze = freeze
        per_channel = torch.tensor(deviation).view(-1, 1, 1)
        shift = torch.tensor(mean).view(-1, 1, 1) / per_channel
        self.register_buffer("scale", 1 / (255 * per_channel), persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        if freeze:
            self.requires_grad_(False)

    @override
    def train(self, mode: bool = True) -> ImageModule:
        """Switch the mode; a frozen module's normalization and dropout stay as they are."""
        super().train(mode)
        if self.freeze:
            self.module.eval()
        return self

    def forward(
        self, pixels: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel row column"]:
        """Map pictures to their features.

        Raises:
            TypeError: the module gave no float tensor.
            ValueError: it is not of that shape.
        """
        features = self.module(pixels.to(self.scale.dtype) * self.scale - self.shift)
        name = type(self.module).__name__
        expected = (
            f"the module {name} must return a feature map, a float tensor of shape (batch, width, "
            f"row, column) with (batch, width) = {(len(pixels), self.width)}, or (batch, width), "
            "but it returned"
        )
        if not isinstance(features, Tensor) or not features.is_floating_point():
            raise TypeError(
                f"{expected} a {type(features).__name__}: return the features before the "
                "classifying layer (timm: num_classes=0)"
            )
        if features.ndim not in (2, 4) or features.shape[:2] != (len(pixels), self.width):
            raise ValueError(
                f"{expected} the shape {tuple(features.shape)}: set width to what the module "
                "gives, and turn tokens (batch, token, width) into such a map"
            )
        return features if features.ndim == 4 else features[:, :, None, None]
