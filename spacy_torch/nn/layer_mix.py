"""The hidden states of several layers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class LayerMix(nn.Module):
    """A weighted mean of layers, with learned weights and a learned scale.

    Peters et al. 2018, "Deep contextualized word representations",
    https://arxiv.org/abs/1802.05365, equation 1. It starts as the plain mean.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_layers))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(
        self, layers: Sequence[Float[Tensor, "*rows width"]]
    ) -> Float[Tensor, "*rows width"]:
        """Mix the layers, as many as there are weights."""
        shares = self.weights.softmax(0) * self.scale
        mixed = shares[0] * layers[0]
        for share, layer in zip(shares[1:], layers[1:], strict=True):
            mixed = mixed + share * layer
        return mixed
