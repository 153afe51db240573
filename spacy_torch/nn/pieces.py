"""The pieces that a pretrained model's tokenizer makes of a batch, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Int


class PieceBatch(NamedTuple):
    """Windows of pieces, and the pieces that make up each token.

    A window is what the model sees at once. The tensors may stay on the CPU.

    Attributes:
        ids: the pieces of all windows, one window after the other, special ones included.
        windows: the number of pieces of each window.
        rows: for each token in turn the places of its pieces in `ids`.
        counts: the number of pieces of each token, which may be 0.
        lengths: the number of tokens of each sequence.
    """

    ids: Int[Tensor, " piece"]
    windows: Int[Tensor, " window"]
    rows: Int[Tensor, " token_piece"]
    counts: Int[Tensor, " token"]
    lengths: Int[Tensor, " batch"]
