"""Pixels as numbers that a network can compute with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


def scale_pixels(
    pixels: UInt8[Tensor, "batch 3 height width"],
    *,
    mean: float = 127.5,
    deviation: float = 64.0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch 3 height width"]:
    """Bytes from 0 to 255 as numbers about zero."""
    return (pixels.to(dtype) - mean) / deviation
