"""Rotary positions: attention that sees how far apart two tokens are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_BASE = 10_000.0


class Rotation(NamedTuple):
    """The cosine and sine of each token's angles, for half the width of a head."""

    cos: Float[Tensor, "token half"]
    sin: Float[Tensor, "token half"]

    def turn(
        self, values: Float[Tensor, "token kind head width"]
    ) -> Float[Tensor, "token kind head width"]:
        """Turn each pair of columns (one of the first half, one of the second)."""
        cos = self.cos[:, None, None].to(values.dtype)
        sin = self.sin[:, None, None].to(values.dtype)
        left, right = values.chunk(2, dim=-1)
        turned = (
            torch.addcmul(left * cos, right, sin, value=-1),
            torch.addcmul(right * cos, left, sin),
        )
        return torch.cat(turned, dim=-1)


def rotate_at(positions: Int[Tensor, " token"], *, width: int) -> Rotation:
    """The rotation of tokens at these positions (https://arxiv.org/abs/2104.09864, eq. 15).

    The product of two turned vectors depends on the distance of their tokens only.

    Args:
        positions: the place of each token in its sequence.
        width: the width of a head, an even number.
    """
    half = width // 2
    places = torch.arange(half, device=positions.device, dtype=torch.float32)
    angles = positions.unsqueeze(1) * _BASE ** (-places / half)
    return Rotation(angles.cos(), angles.sin())
