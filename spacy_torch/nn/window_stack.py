"""Convolutions of rows while predicting on a CPU: no row too many, and none far away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.int8 import LARGEST, Rounded, largest_magnitudes
from spacy_torch.nn.int8_maxout import Int8MaxoutNorm
from spacy_torch.nn.maxout import MaxoutNorm, maxout
from spacy_torch.nn.row_sums import sum_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# So many rows are taken through a layer at a time: windows, pieces and weights then fit into
# a core's own cache: a tenth to a fifth faster than one product of 2,000 rows.
_ROWS_AT_ONCE = 160
# Of 8-bit integers, where a product takes less and a call the same.
_INT8_ROWS_AT_ONCE = 512

Layers = Sequence[MaxoutNorm | Int8MaxoutNorm]


def convolve_types(
    types: Int[Tensor, " token"],
    lengths: Int[Tensor, " batch"],
    tables: tuple[Float[Tensor, "type width"], Float[Tensor, "type neighbour*pieces*width"]],
    layers: Layers,
    *,
    window: int,
    padding: int,
) -> Float[Tensor, "token width"]:
    """Residual convolutions over sequences of types; without gradients.

    Each sequence is surrounded by padding, of which a layer computes what the layers after
    it will read: `window` rows on either side for each of them.

    Args:
        types: for each token its row in the tables.
        lengths: of the sequences.
        tables: each type's vector, and its part of the first convolution for each place
            in a window, the bias in the middle one.
        layers: at least one; after the first they may be rounded to 8 bits.
        window: the number of neighbours on either side.
        padding: the row in the tables of what surrounds a sequence.
    """
    vectors, parts = tables
    n_neighbours, width = 2 * window + 1, vectors.shape[1]
    if not len(types):
        return vectors.index_select(0, types)
    frame = _Frame(lengths[lengths > 0], len(types))
    margin = window * len(layers)
    run = types.new_full((frame.n_rows(margin),), padding)
    run[torch.arange(len(types)) + (2 * frame.sequence_ids(0) + 1) * margin] = types

    margin -= window
    places = torch.arange(n_neighbours)
    windows = run.unfold(0, n_neighbours, 1).index_select(0, frame.starts(margin, window))
    table = parts.view(-1, parts.shape[1] // n_neighbours)
    hidden = vectors.new_empty(len(windows), width)
    activate = _Activation(layers[0])
    for rows, output in _batches(windows, hidden):
        residual = vectors.index_select(0, rows[:, window])
        activate(sum_rows(table, rows * n_neighbours + places), residual, out=output)

    for layer in layers[1:]:
        margin -= window
        if isinstance(layer, Int8MaxoutNorm):
            hidden = _convolve_int8(layer, hidden, frame, margin=margin, window=window)
        else:
            hidden = _convolve(layer, hidden, frame, margin=margin, window=window)
    return hidden


def _convolve(
    layer: MaxoutNorm, hidden: Tensor, frame: _Frame, *, margin: int, window: int
) -> Tensor:
    """One convolution, after which the sequences have this margin left."""
    width = hidden.shape[1]
    windows = frame.starts(margin, window).unsqueeze(1) + torch.arange(2 * window + 1)
    outputs = hidden.new_empty(len(windows), width)
    weight, bias, activate = layer.weight, layer.bias, _Activation(layer)
    for rows, output in _batches(windows, outputs):
        inputs = hidden.index_select(0, rows.view(-1)).view(len(rows), -1)
        residual = inputs[:, window * width : (window + 1) * width]
        activate(torch.addmm(bias, inputs, weight), residual, out=output)
    return outputs


def _convolve_int8(
    layer: Int8MaxoutNorm, hidden: Tensor, frame: _Frame, *, margin: int, window: int
) -> Tensor:
    """The same of integers, all rows of a sequence rounded by one scale.

    Every row is rounded once, not once for each window it stands in.
    """
    tops = torch.segment_reduce(
        largest_magnitudes(hidden),
        "max",
        lengths=frame.lengths + 2 * (margin + window),
        unsafe=True,
    )
    rounded = torch.mul(hidden, LARGEST / frame.spread(tops, margin + window)).round_()
    integers = rounded.to(torch.int8)
    windows = frame.starts(margin, window).unsqueeze(1) + torch.arange(2 * window + 1)
    scales = frame.spread(tops / LARGEST, margin)
    outputs = hidden.new_empty(len(windows), hidden.shape[1])
    activate = _Activation(layer)
    at_once = _INT8_ROWS_AT_ONCE
    for rows, scale, output in zip(
        torch.split(windows, at_once),
        torch.split(scales, at_once),
        torch.split(outputs, at_once),
        strict=True,
    ):
        inputs = integers.index_select(0, rows.view(-1)).view(len(rows), -1)
        residual = hidden.index_select(0, rows[:, window])
        activate(layer.map(Rounded(inputs, scale)), residual, out=output)
    return outputs


class _Frame:
    """Where the sequences of a batch lie when each has a margin of rows on either side."""

    def __init__(self, lengths: Int[Tensor, " batch"], n_tokens: int) -> None:
        self.lengths = lengths
        self.n_tokens = n_tokens

    def n_rows(self, margin: int) -> int:
        """The number of rows, margins included."""
        return self.n_tokens + 2 * margin * len(self.lengths)

    def sequence_ids(self, margin: int) -> Int[Tensor, " row"]:
        """The sequence of each row."""
        ids = torch.arange(len(self.lengths))
        return ids.repeat_interleave(self.lengths + 2 * margin, output_size=self.n_rows(margin))

    def spread(self, values: Float[Tensor, "batch 1"], margin: int) -> Float[Tensor, "row 1"]:
        """The value of each row's sequence."""
        return values.repeat_interleave(
            self.lengths + 2 * margin, dim=0, output_size=self.n_rows(margin)
        )

    def starts(self, margin: int, window: int) -> Int[Tensor, " row"]:
        """The first row of each row's window, where the margins are wider by the window."""
        return torch.arange(self.n_rows(margin)) + 2 * window * self.sequence_ids(margin)


def _batches(windows: Tensor, outputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(
        torch.split(windows, _ROWS_AT_ONCE), torch.split(outputs, _ROWS_AT_ONCE), strict=True
    )


class _Activation:
    """`MaxoutNorm.activate` in evaluation mode, plus a residual.

    What a module needs to be looked up and called takes longer than some of the work on so
    few rows.
    """

    def __init__(self, layer: MaxoutNorm | Int8MaxoutNorm) -> None:
        self.pieces = layer.pieces
        norm = layer.norm
        self.norm = (norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def __call__(self, pieces: Tensor, residual: Tensor, *, out: Tensor) -> None:
        """Write the result to `out`."""
        normed = torch.layer_norm(maxout(pieces, self.pieces), *self.norm)
        torch.add(normed, residual, out=out)
