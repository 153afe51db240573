"""A token encoder that reads each sentence forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from spacy_torch.nn.character_cnn import CharacterCNN
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch
from spacy_torch.nn.lstm import PackedLSTM
from spacy_torch.nn.packed_order import PackedOrder, pack
from spacy_torch.nn.ragged import Ragged

DropoutMask = Literal["sequence", "token"]


class BiLSTM(nn.Module):
    """Hash embeddings and layers of bidirectional LSTMs, nothing of it padded.

    The embeddings are computed once per word type, so that dropout there hits all tokens
    of a type alike. Between two layers it follows `dropout_mask`; the vectors that come
    out have none.

    Args:
        rows: the size of each attribute's hash table.
        width: the size of the token vectors, an even number, half for each direction.
        depth: the number of layers.
        embed_width: the size of the embeddings.
        vector_width: the size of the static vectors; 0 for none.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
        dropout_mask: "sequence" drops the same columns in all tokens of a sequence
            (https://arxiv.org/abs/1512.05287), "token" draws anew for each token.
        word_dropout: see `MultiHashEmbed`.
        characters: a module that reads the types' characters, mixed in as another attribute.
    """

    def __init__(
        self,
        *,
        rows: Sequence[int],
        width: int,
        depth: int,
        embed_width: int,
        vector_width: int = 0,
        dropout: float | None = None,
        dropout_mask: DropoutMask = "sequence",
        word_dropout: float = 0.0,
        characters: CharacterCNN | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.embed = MultiHashEmbed(
            rows,
            width=embed_width,
            vector_width=vector_width,
            dropout=dropout,
            word_dropout=word_dropout,
            characters=characters,
        )
        self.layers = nn.ModuleList(
            PackedLSTM(width if index else embed_width, width=width) for index in range(depth)
        )
        self.dropout = build_dropout(dropout)
        self.dropout_mask: DropoutMask = dropout_mask

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch; returns one vector per token."""
        packed = pack(Ragged(batch.inverse, batch.lengths))
        types = batch.inverse.index_select(0, packed.order)
        values = self.embed(batch).index_select(0, types)
        for index, layer in enumerate(self.layers):
            if index:
                values = self._drop(values, packed)
            values = layer(values, packed)
        return Ragged(values.index_select(0, packed.place), batch.lengths)

    def _drop(self, values: Tensor, packed: PackedOrder) -> Tensor:
        if self.dropout_mask == "token" or not self.training or not packed.sizes:
            return self.dropout(values)
        mask = self.dropout(values.new_ones(packed.sizes[0], values.shape[1]))
        return values * mask.index_select(0, packed.sequence)
