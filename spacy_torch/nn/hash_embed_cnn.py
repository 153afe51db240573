"""spaCy's standard token encoder, computed without padding and once per word type."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.character_cnn import CharacterCNN
from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch
from spacy_torch.nn.int8_maxout import Int8MaxoutNorm
from spacy_torch.nn.maxout import MaxoutNorm
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.row_sums import sum_rows
from spacy_torch.nn.type_cache import TypeCache
from spacy_torch.nn.window import window_linear
from spacy_torch.nn.window_stack import Layers, convolve_types

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class HashEmbedCNN(nn.Module):
    """Hash embeddings and residual convolutions over neighbouring tokens.

    The same function as `spacy.HashEmbedCNN.v2`, and of other sizes as
    `spacy.MultiHashEmbed.v2` followed by `spacy.MaxoutWindowEncoder.v2`; see
    `spacy_torch.architectures.convert` to take over trained weights.

    Words that occur more than once in a batch are embedded once, and so is their part of
    the first convolution, which is linear in each of the neighbours. While predicting on
    a CPU these parts are remembered across batches, in at most 32 MiB (8,700 types at a
    width of 96), until a weight changes. Dropout on the embedding therefore hits all
    tokens of a type alike.

    Args:
        rows: the size of each attribute's hash table.
        width: the size of the token vectors.
        depth: the number of convolutions.
        window: the number of neighbours on either side of a token.
        pieces: how many linear maps the largest value is taken of.
        vector_width: the size of the static vectors; 0 for none.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
        word_dropout: see `MultiHashEmbed`.
        characters: a module that reads the types' characters, mixed in as another attribute.
    """

    def __init__(
        self,
        *,
        rows: Sequence[int],
        width: int,
        depth: int,
        window: int = 1,
        pieces: int = 3,
        vector_width: int = 0,
        dropout: float | None = None,
        word_dropout: float = 0.0,
        characters: CharacterCNN | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        for name, size in {"depth": depth, "window": window}.items():
            if size < 0:
                raise ValueError(f"{name} must be >= 0, got {size}")
        self.width = width
        self.window = window
        self.embed = MultiHashEmbed(
            rows,
            width=width,
            vector_width=vector_width,
            dropout=dropout,
            word_dropout=word_dropout,
            characters=characters,
        )
        inputs = width * (2 * window + 1)
        self.layers = nn.ModuleList(
            MaxoutNorm(inputs, width=width, pieces=pieces, dropout=dropout) for _ in range(depth)
        )
        self.cache = TypeCache()

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch; returns one vector per token."""
        if self.training:
            self.cache.clear()
        if not self.layers:
            return Ragged(self.embed(batch)[batch.inverse], batch.lengths)
        # Rounded layers have no gradients.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._is_rounded()):
            return Ragged(self._encode(batch), batch.lengths)

    def _encode(self, batch: TokenBatch) -> Float[Tensor, "token width"]:
        may_cache = self._may_cache(batch)
        if may_cache:
            slots, tables = self._cached_tables(batch)
            types, padding = slots[batch.inverse], int(slots[-1])
        else:
            types, padding = batch.inverse, len(batch.keys)
            tables = self._type_tables(batch)
        if self._is_rounded() or (may_cache and self._may_stack(tables)):
            layers = cast("Layers", list(self.layers))
            return convolve_types(
                types, batch.lengths, tables, layers, window=self.window, padding=padding
            )
        return self._convolve(types, batch.lengths, tables, padding=padding)

    def _is_rounded(self) -> bool:
        """Whether layers were rounded to 8 bits (see `int8_conversion`)."""
        return any(isinstance(layer, Int8MaxoutNorm) for layer in self.layers)

    def _type_tables(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """What is computed per type: its vector, and its part of the first convolution.

        The last row is that of the padding between sequences. The second table has a
        column block for each place in the window, the bias included in the middle one.
        """
        embedded = self.embed(batch)
        vectors = torch.cat([embedded, embedded.new_zeros(1, self.width)])  # type, width
        weight, bias = self._first_layer()
        n_outputs = len(bias)
        blocks = weight.view(-1, self.width, n_outputs).transpose(0, 1)
        side = self.window * n_outputs
        parts = torch.addmm(F.pad(bias, (side, side)), vectors, blocks.flatten(1))
        return vectors, parts

    def _convolve(
        self,
        types: Int[Tensor, " token"],
        lengths: Int[Tensor, " batch"],
        tables: tuple[Tensor, ...],
        *,
        padding: int,
    ) -> Float[Tensor, "token width"]:
        """All convolutions, over one run of the sequences with padding between them.

        As in spaCy, the padding starts as zeros and is then computed like any token, and
        it feeds back into the ends of the sequences. It is wide enough to keep them
        apart, and each convolution consumes `window` rows at both ends of the run.
        """
        vectors, parts = tables
        if not len(types):
            return vectors.index_select(0, types)
        n_neighbours = 2 * self.window + 1
        gap = self.window * len(self.layers)
        gaps_before = Ragged(types, lengths).sequence_ids() * gap
        positions = torch.arange(len(types), device=types.device) + gaps_before
        run = types.new_full((len(types) + gap * (len(lengths) + 1),), padding)
        run = run.index_copy(0, positions + gap, types)
        windows = run.unfold(0, n_neighbours, 1) * n_neighbours
        windows = windows + torch.arange(n_neighbours, device=types.device)
        pieces = sum_rows(parts.view(-1, parts.shape[1] // n_neighbours), windows)
        hidden = vectors.index_select(0, self._inner(run))
        for index, layer in enumerate(self._maxouts()):
            if index:
                pieces = window_linear(hidden, layer.weight, layer.bias)
                hidden = self._inner(hidden)
            hidden = layer.activate(pieces).add_(hidden)
        return hidden.index_select(0, positions)

    def _inner(self, rows: Tensor) -> Tensor:
        return rows[self.window : len(rows) - self.window]

    def _maxouts(self) -> list[MaxoutNorm]:
        return cast("list[MaxoutNorm]", list(self.layers))

    def _first_layer(self) -> tuple[Tensor, Tensor]:
        first = cast("MaxoutNorm", self.layers[0])  # never rounded
        return first.weight, first.bias

    def _may_cache(self, batch: TokenBatch) -> bool:
        # On a GPU looking up the keys would wait for the device, and a compiled or
        # exported module must not depend on what was seen before.
        return not (
            self.training
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
            or batch.keys.device.type != "cpu"
            or self.embed.table.device.type != "cpu"
        )

    def _may_stack(self, tables: tuple[Tensor, ...]) -> bool:
        # What autocast and mixed types need is known only to the slower way.
        types = {tensor.dtype for tensor in tables}
        for layer in self._maxouts():
            types |= {layer.weight.dtype, layer.norm.weight.dtype}
        return len(types) == 1 and not torch.is_autocast_enabled("cpu")

    def _stamp(self) -> Hashable:
        """Equal as long as nothing has changed that the cached rows were computed from."""
        parameters = [*self.embed.parameters(), *self._first_layer()]
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        return autocast, *(_version(parameter) for parameter in parameters)

    def _cached_tables(self, batch: TokenBatch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The slots of the batch's types and, last, of the padding; and the tables."""
        padding = len(batch.keys)

        def compute(missing: Tensor) -> tuple[Tensor, ...]:
            types = missing[missing < padding]
            tables = self._type_tables(batch.of_types(types))
            return tuple(table[: len(missing)] for table in tables)

        known = cast("list[int]", batch.keys.tolist())  # pyright: ignore[reportUnknownMemberType]
        keys = [*known, None]
        slots, tables = self.cache.look_up(keys, stamp=self._stamp(), compute=compute)
        vectors, parts = tables
        return slots, (vectors, parts)


def _version(tensor: Tensor) -> Hashable:
    # Tensors made in inference mode count no changes, and cannot be changed outside it.
    version = None if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version, tensor.dtype
