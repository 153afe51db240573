"""A token encoder of attention layers, trained from scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.ragged_attention import (
    Attention,
    keep_attention_from_compiler,
    sort_by_length,
)
from spacy_torch.nn.rotary import Rotation, rotate_at

FeedForwardKind = Literal["gelu", "swiglu"]


class TransformerEncoder(nn.Module):
    """Hash embeddings and pre-norm attention layers (https://arxiv.org/abs/2002.04745).

    Everything runs on rows of tokens without padding, attention on the sequences of one
    length at a time. Positions are rotary, so that no length is too long. A document of
    at most `window + 1` tokens is seen as a whole; in a longer one each layer lets a token
    see `window` neighbours on either side, and memory grows with the length, not its
    square. The attention's own probabilities are not dropped.

    Args:
        rows: the size of each attribute's hash table.
        width: the size of the token vectors.
        depth: the number of layers.
        n_heads: the number of attention heads; `width` is an even multiple of it.
        feed_forward_width: the size inside a layer's feed-forward part.
        feed_forward: "gelu", or "swiglu" (https://arxiv.org/abs/2002.05202), which has half
            as many weights more for the same size.
        window: the number of neighbours on either side of a token that it sees.
        vector_width: the size of the static vectors; 0 for none.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
        word_dropout: see `MultiHashEmbed`.
        checkpointing: forget what a layer computed until the backward pass, which computes it
            again: takes less memory and more time.
    """

    def __init__(
        self,
        *,
        rows: Sequence[int],
        width: int,
        depth: int,
        n_heads: int,
        feed_forward_width: int,
        feed_forward: FeedForwardKind = "gelu",
        window: int = 256,
        vector_width: int = 0,
        dropout: float | None = None,
        word_dropout: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"depth": depth, "n_heads": n_heads, "feed_forward_width": feed_forward_width}
        for name, size in {**sizes, "window": window}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if width % (2 * n_heads):
            raise ValueError(
                "width must be an even multiple of n_heads, as a head's columns are turned in "
                f"pairs, got width {width} and n_heads {n_heads}"
            )
        self.window = window
        self.checkpointing = checkpointing
        self.head_width = width // n_heads
        self.embed = MultiHashEmbed(
            rows,
            width=width,
            vector_width=vector_width,
            dropout=dropout,
            word_dropout=word_dropout,
        )
        self.layers = nn.ModuleList(
            TransformerLayer(
                width=width,
                n_heads=n_heads,
                feed_forward=build_feed_forward(
                    feed_forward, width=width, inner_width=feed_forward_width
                ),
                dropout=dropout,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self._shrink_residuals()

    def before_compiling(self) -> None:
        """Called by our shims before `torch.compile`."""
        keep_attention_from_compiler()

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch; returns one vector per token."""
        sorted_ = sort_by_length(Ragged(batch.inverse, batch.lengths))
        types = batch.inverse.index_select(0, sorted_.order)
        values = self.embed(batch).index_select(0, types)
        rotation = rotate_at(sorted_.positions, width=self.head_width)
        attend = Attention(sorted_.groups, window=self.window)
        for layer in self.layers:
            run = partial(layer, attend=attend)
            if self.checkpointing and self.training:
                values = cast("Tensor", checkpoint(run, values, rotation, use_reentrant=False))
            else:
                values = run(values, rotation)
        return Ragged(self.norm(values).index_select(0, sorted_.place), batch.lengths)

    @torch.no_grad()
    def _shrink_residuals(self) -> None:
        """Start with branches that add little, so that the first large steps are safe.

        As in GPT-2: by the root of the number of branches.
        """
        scale = 1 / math.sqrt(2 * len(self.layers))
        for layer in cast("list[TransformerLayer]", list(self.layers)):
            layer.mix.weight.mul_(scale)
            layer.feed_forward.output.weight.mul_(scale)


class TransformerLayer(nn.Module):
    """Attention and a feed-forward part, each behind a norm and added to what came in.

    Args:
        feed_forward: the second part, as from `build_feed_forward`.
    """

    def __init__(
        self, *, width: int, n_heads: int, feed_forward: FeedForward, dropout: float | None
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _linear(width, 3 * width)  # query, key and value in one product
        self.mix = _linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward
        self.dropout = build_dropout(dropout)

    def forward(
        self,
        values: Tensor,
        rotation: Rotation,
        *,
        attend: Attention,
    ) -> Tensor:
        """The next layer's rows, in the order of `sort_by_length`."""
        heads = self.attention(self.attention_norm(values))
        heads = heads.view(
            len(values), 3, self.n_heads, values.shape[1] // self.n_heads
        )  # token, kind, head, width
        # Splitting, not indexing: the gradients of its parts are joined in one go.
        pair, value = torch.split(heads, [2, 1], dim=1)
        query, key = rotation.turn(pair).unbind(1)
        attended = attend(query, key, value.squeeze(1)).flatten(1)
        values = values + self.dropout(self.mix(attended))
        return values + self.dropout(self.feed_forward(self.feed_forward_norm(values)))


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them.

    Args:
        gated: whether one half of the first map's columns is the gate of the other.
    """

    def __init__(self, *, width: int, inner_width: int, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.input = _linear(width, 2 * inner_width if gated else inner_width)
        self.output = _linear(inner_width, width)

    def forward(self, values: Tensor) -> Tensor:
        """Map each row."""
        inner = self.input(values)
        if not self.gated:
            return self.output(F.gelu(inner))
        gate, inner = inner.chunk(2, dim=1)
        return self.output(F.silu(gate) * inner)


def build_feed_forward(kind: FeedForwardKind, *, width: int, inner_width: int) -> FeedForward:
    """The feed-forward part of that name."""
    if kind not in get_args(FeedForwardKind):
        raise ValueError(
            f"feed_forward must be one of {', '.join(get_args(FeedForwardKind))}, got {kind!r}"
        )
    return FeedForward(width=width, inner_width=inner_width, gated=kind == "swiglu")


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(inputs))
    nn.init.zeros_(linear.bias)
    return linear
