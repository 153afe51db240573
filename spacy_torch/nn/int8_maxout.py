"""Maxout of 8-bit integers, for prediction on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spacy_torch.nn.int8 import Int8Matrix, Rounded, round_rows
from spacy_torch.nn.maxout import MaxoutNorm, maxout

if TYPE_CHECKING:
    from jaxtyping import Float


class Int8MaxoutNorm(nn.Module):
    """`MaxoutNorm` with a matrix of 8-bit integers; predicts, and does not train."""

    bias: Tensor

    def __init__(self, inputs: int, *, width: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.matrix = Int8Matrix(inputs, pieces * width)
        self.register_buffer("bias", torch.zeros(pieces * width))
        self.norm = nn.LayerNorm(width, eps=1e-8).requires_grad_(False)

    @classmethod
    def of(cls, layer: MaxoutNorm) -> Int8MaxoutNorm:
        """The rounded layer."""
        rounded = cls(0, width=len(layer.norm.weight), pieces=layer.pieces)
        rounded.matrix = Int8Matrix.of(layer.weight.t())
        rounded.bias = layer.bias.detach()
        rounded.norm.load_state_dict(layer.norm.state_dict(), assign=True)
        rounded.norm.eps = layer.norm.eps
        return rounded.requires_grad_(False).train(layer.training)

    def forward(self, values: Float[Tensor, "row inputs"]) -> Float[Tensor, "row width"]:
        """Map each row."""
        return self.activate(self.map(round_rows(values)))

    def map(self, rows: Rounded) -> Float[Tensor, "row pieces*width"]:
        """The linear maps."""
        return self.matrix(rows, self.bias)

    def activate(self, pieces: Float[Tensor, "row pieces*width"]) -> Float[Tensor, "row width"]:
        """What follows the linear maps: maximum and norm."""
        return self.norm(maxout(pieces, self.pieces))
