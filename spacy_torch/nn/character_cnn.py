"""A vector of each word type from its characters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.row_sums import sum_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class CharacterBatch(NamedTuple):
    """The characters of word types, one type after the other.

    Attributes:
        rows: the row of the table that each character takes, from 1 on.
        lengths: the number of characters of each type.
    """

    rows: Int[Tensor, " character"]
    lengths: Int[Tensor, " type"]

    def of_types(self, types: Int[Tensor, " chosen"]) -> CharacterBatch:
        """The characters of these types only, in their order."""
        starts = self.lengths.cumsum(0) - self.lengths
        lengths = self.lengths.index_select(0, types)
        moved = starts.index_select(0, types) - (lengths.cumsum(0) - lengths)
        places = torch.arange(int(lengths.sum()), device=lengths.device)
        places = places + moved.repeat_interleave(lengths)
        return CharacterBatch(self.rows.index_select(0, places), lengths)


class CharacterCNN(nn.Module):
    """Filters over neighbouring characters, and the largest value of each in a word.

    Word edges are characters of their own, so that a filter can tell a prefix. The
    convolution is linear in each of the neighbours: it is computed once per character of
    the table and then only added up. A type without characters gives zeros.

    Args:
        rows: how many different characters there are.
        character_width: the size of the characters' vectors.
        width: the number of filters, the size of the types' vectors.
        window: the number of neighbours on either side of a character.
    """

    def __init__(self, *, rows: int, character_width: int, width: int, window: int = 1) -> None:
        super().__init__()
        sizes = {"rows": rows, "character_width": character_width, "width": width}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if window < 0:
            raise ValueError(f"window must be >= 0, got {window}")
        self.width = width
        self.window = window
        # One row more, the first one: the edge of a word.
        self.table = nn.Parameter(torch.empty(rows + 1, character_width))
        self.weight = nn.Parameter(torch.empty(2 * window + 1, character_width, width))
        self.bias = nn.Parameter(torch.zeros(width))
        # As large as hashed attributes at first, with which it is mixed.
        nn.init.uniform_(self.table, -0.1, 0.1)
        bound = math.sqrt(6.0 / ((2 * window + 1) * character_width + width))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, batch: CharacterBatch) -> Float[Tensor, "type width"]:
        """One vector per type."""
        if not len(batch.rows):
            return (self.table[:0].sum() + self.bias * 0).expand(len(batch.lengths), -1)
        n_neighbours = 2 * self.window + 1
        by_place = self.weight.transpose(0, 1).flatten(1)  # character_width, neighbour*width
        parts = (self.table @ by_place).view(-1, self.width)  # row*neighbour, width
        neighbours = torch.arange(n_neighbours, device=parts.device)
        sums = sum_rows(parts, self._windows(batch) * n_neighbours + neighbours)
        largest = F.relu(Ragged(sums, batch.lengths).max() + self.bias)
        return largest.masked_fill(batch.lengths.unsqueeze(1) == 0, 0.0)

    def _windows(self, batch: CharacterBatch) -> Int[Tensor, "character neighbour"]:
        """The rows of each character and its neighbours, in one run with edges between words."""
        words = Ragged(batch.rows, batch.lengths)
        places = torch.arange(len(batch.rows), device=batch.rows.device)
        places = places + words.sequence_ids() * self.window
        n_edges = self.window * (len(batch.lengths) + 1)
        run = batch.rows.new_zeros(len(batch.rows) + n_edges)
        run = run.index_copy(0, places + self.window, batch.rows)
        return run.unfold(0, 2 * self.window + 1, 1).index_select(0, places)
