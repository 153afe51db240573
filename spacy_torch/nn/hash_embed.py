"""Vectors of word types: hashed attributes, static vectors, and what is mixed from both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from spacy_torch.nn.character_cnn import CharacterBatch, CharacterCNN
from spacy_torch.nn.maxout import MaxoutNorm
from spacy_torch.nn.row_sums import sum_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# spaCy's MultiHashEmbed has this many, whatever the encoder has.
_MIX_PIECES = 3


class TokenBatch(NamedTuple):
    """The tokens of a batch, everything that depends on the word alone once per type.

    A type is a distinct word: `rows`, `keys`, `vectors` and `characters` are per type, not
    per token. What is computed from them becomes a row per token by `values[batch.inverse]`.

    Attributes:
        rows: for each type and attribute, the rows it hashes to; the attributes' tables
            are counted through as one.
        inverse: the type of each token.
        lengths: the number of tokens of each sequence.
        keys: what identifies a type across batches.
        vectors: the static vector of each type, zeros where it has none.
        characters: the characters of each type.
    """

    rows: Int[Tensor, "type attr 4"]
    inverse: Int[Tensor, " token"]
    lengths: Int[Tensor, " batch"]
    keys: Int[Tensor, " type"]
    vectors: Float[Tensor, "type vector_width"] | None = None
    characters: CharacterBatch | None = None

    def of_types(self, types: Int[Tensor, " chosen"]) -> TokenBatch:
        """What is embedded of these types only; the tokens and keys stay as they are."""
        return self._replace(
            rows=self.rows[types],
            vectors=None if self.vectors is None else self.vectors[types],
            characters=None if self.characters is None else self.characters.of_types(types),
        )


class MultiHashEmbed(nn.Module):
    """Hash-embeds each attribute of a type and mixes the vectors into one.

    The same function as `spacy.MultiHashEmbed.v2`. With static vectors, these are mapped
    to `width` and mixed in as well; so is what is read from the characters.

    Args:
        rows: the size of each attribute's table.
        vector_width: the size of the static vectors; 0 for none.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
        word_dropout: the share of types that look like unknown words while training: their
            first attribute is read from random rows of its table, as that of a word which
            was never seen is.
        characters: a module that reads the types' characters.
    """

    def __init__(
        self,
        rows: Sequence[int],
        *,
        width: int,
        vector_width: int = 0,
        dropout: float | None = None,
        word_dropout: float = 0.0,
        characters: CharacterCNN | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= word_dropout < 1.0:
            raise ValueError(f"word_dropout must be at least 0 and less than 1, got {word_dropout}")
        if not rows or min(rows) < 1:
            raise ValueError(
                f"rows must give a size of at least 1 for each attribute, got {list(rows)}"
            )
        self.rows = list(rows)
        self.word_dropout = word_dropout
        # The attributes' tables stand one after the other, so that one call reads all.
        self.table = nn.Parameter(torch.empty(sum(rows), width))
        nn.init.uniform_(self.table, -0.1, 0.1)
        self.static: nn.Parameter | None = None
        if vector_width:
            self.static = nn.Parameter(torch.empty(vector_width, width))
            bound = math.sqrt(6.0 / (vector_width + width))
            nn.init.uniform_(self.static, -bound, bound)
        self.characters = characters
        inputs = width * (len(rows) + (self.static is not None))
        inputs += characters.width if characters is not None else 0
        self.mix = MaxoutNorm(inputs, width=width, pieces=_MIX_PIECES, dropout=dropout)

    def forward(self, batch: TokenBatch) -> Float[Tensor, "type width"]:
        """Embed every type; `embed(batch)[batch.inverse]` gives one row per token."""
        rows = batch.rows
        if self.training and self.word_dropout:
            rows = self._hide_words(rows)
        rows = rows.flatten(0, 1)  # type*attr, 4
        embedded = sum_rows(self.table, rows)
        parts = [embedded.view(-1, len(self.rows) * embedded.shape[1])]
        if self.static is not None:
            parts.append(self._map_static(batch, self.static).to(embedded.dtype))
        if self.characters is not None:
            parts.append(self._read_characters(batch, self.characters).to(embedded.dtype))
        return self.mix(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])

    def _hide_words(self, rows: Int[Tensor, "type attr 4"]) -> Int[Tensor, "type attr 4"]:
        words, others = rows[:, :1], rows[:, 1:]
        hidden = torch.rand(len(rows), 1, 1, device=rows.device) < self.word_dropout
        elsewhere = torch.randint_like(words, self.rows[0])
        return torch.cat([torch.where(hidden, elsewhere, words), others], dim=1)

    def _map_static(self, batch: TokenBatch, weight: Tensor) -> Float[Tensor, "type width"]:
        if batch.vectors is None:
            raise ValueError(
                "the module was built for static vectors, but the batch has none: "
                "featurize with static_vectors=True"
            )
        return batch.vectors.to(weight.dtype) @ weight

    def _read_characters(
        self, batch: TokenBatch, characters: CharacterCNN
    ) -> Float[Tensor, "type width"]:
        if batch.characters is None:
            raise ValueError(
                "the module was built for characters, but the batch has none: "
                "featurize with characters=HashedCharacters(...)"
            )
        return characters(batch.characters)
