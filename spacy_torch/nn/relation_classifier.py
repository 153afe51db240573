"""Classify pairs of spans by the spans, what is around them, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# A pair is read as five stretches of text.
N_STRETCHES = 5

# Each pair has rows of its own for the tokens around it, so that a text with many spans has
# far more rows than tokens. So many are read at once, and one more pair's at most.
MAX_ROWS = 1 << 14


class PairBatch(NamedTuple):
    """A batch of sequences, and pairs of spans in them.

    Attributes:
        tokens: the batch for the encoder.
        spans: start and end of the head, start and end of the tail, counted from the
            start of the pair's own sequence. Spans are not empty; they may overlap.
        lengths: the number of pairs of each sequence.
    """

    tokens: Any
    spans: Int[Tensor, "pair 4"]
    lengths: Int[Tensor, " batch"]


class RelationClassifier(nn.Module):
    """Encoder, a reading of each pair, and a row of logits per pair.

    Each token near a pair is seen with its distances from the head and from the tail, together
    with its neighbours (Zeng et al. 2014, https://aclanthology.org/C14-1220). The largest
    values are then taken from five stretches apart (Zeng et al. 2015,
    https://aclanthology.org/D15-1203): before the pair, the head, between the two, the tail,
    and after the pair. Where the spans overlap, the stretch between them is empty. What does
    not depend on the pair, the largest product, is computed once per token. Many pairs are
    read a part at a time, and in training each part once more for its gradient, so that the
    memory grows with the number of pairs by one vector of `hidden_width` each.

    The last layer starts at zero: an untrained classifier prefers no label.

    Args:
        encoder: a module that maps `PairBatch.tokens` to `Ragged` vectors.
        width: the size of these vectors.
        n_labels: the number of labels, without that of unrelated pairs.
        exclusive: a pair has one label or none; the first column is then that of none,
            so that labels added later come last.
        hidden_width: the size of a stretch's vector and of the layer before the last.
        window: how many neighbours on either side a token is seen with.
        context: how many tokens before and after the pair are read.
        max_distance: larger distances count as this one.
        distance_width: the size of a distance's vector.
        dropout: a module applied to the token vectors and before the last layer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        n_labels: int,
        exclusive: bool = True,
        hidden_width: int = 256,
        window: int = 1,
        context: int = 3,
        max_distance: int = 30,
        distance_width: int = 32,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        sizes = {"window": window, "context": context, "max_distance": max_distance}
        for name, size in sizes.items():
            if size < 0:
                raise ValueError(f"{name} must be >= 0, got {size}")
        self.encoder = encoder
        self.width = width
        self.window = window
        self.context = context
        self.max_distance = max_distance
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.head_distance = nn.Embedding(2 * max_distance + 1, distance_width)
        self.tail_distance = nn.Embedding(2 * max_distance + 1, distance_width)
        # A block of columns for each place in the window.
        columns = (2 * window + 1) * hidden_width
        self.see_token = nn.Linear(width, columns, bias=False)
        self.see_distances = nn.Linear(2 * distance_width, columns, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden_width))
        self.combine = nn.Linear(N_STRETCHES * hidden_width + 2 * width, hidden_width)
        self.norm = nn.LayerNorm(hidden_width)
        self.output = nn.Linear(hidden_width, n_labels + int(exclusive))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: PairBatch) -> Ragged:
        """Score a batch; returns logits of shape (pair, label), the pairs of each sequence.

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens: Ragged = self.encoder(batch.tokens)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        tokens = Ragged(self.dropout(tokens.values), tokens.lengths)
        if not len(batch.spans):
            return Ragged(self._nothing(tokens.values), batch.lengths)
        hidden = self.norm(self._read(tokens, batch))
        return Ragged(self.output(self.dropout(hidden)), batch.lengths)

    def _read(self, tokens: Ragged, batch: PairBatch) -> Float[Tensor, "pair hidden"]:
        """One vector per pair."""
        sequences = Ragged(batch.spans, batch.lengths).sequence_ids()
        first = tokens.offsets().index_select(0, sequences)
        beyond = first + tokens.lengths.index_select(0, sequences)
        spans = batch.spans + first.unsqueeze(1)  # from here on, rows of the batch
        starts, ends = stretches(spans, first, beyond, context=self.context)
        inputs = tokens.values, self.see_token(tokens.values)
        sizes = split_rows(ends[:, -1] - starts[:, 0], MAX_ROWS)
        if len(sizes) == 1:
            return self._read_part(*inputs, spans, starts, ends)
        parts = zip(*(torch.split(rows, sizes) for rows in (spans, starts, ends)), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([self._read_part(*inputs, *part) for part in parts])
        # Nothing is drawn at random in a part.
        options: Any = {"use_reentrant": False, "preserve_rng_state": False}
        run = cast("Callable[..., Tensor]", partial(checkpoint, self._read_part, **options))
        return torch.cat([run(*inputs, *part) for part in parts])

    def _read_part(
        self, values: Tensor, token_parts: Tensor, spans: Tensor, starts: Tensor, ends: Tensor
    ) -> Float[Tensor, "pair hidden"]:
        """The five stretches of some pairs, and the mean of head and of tail, combined."""
        seen, lengths = self._see(token_parts, spans, starts[:, 0], ends[:, -1])
        # The stretches as rows of `seen`, where the pairs lie one after the other.
        shift = (lengths.cumsum(0) - lengths - starts[:, 0]).unsqueeze(1)
        rows, lengths = expand((starts + shift).flatten(), (ends + shift).flatten())
        pooled = Ragged(seen.index_select(0, rows), lengths).max().view(len(spans), -1)
        means = [self._mean(values, spans[:, at], spans[:, at + 1]) for at in (0, 2)]
        return F.gelu(self.combine(torch.cat([pooled, *means], dim=1)))

    def _see(
        self, token_parts: Tensor, spans: Tensor, starts: Tensor, ends: Tensor
    ) -> tuple[Float[Tensor, "row hidden"], Int[Tensor, " pair"]]:
        """The tokens of each pair, from start to end, with their distances and neighbours."""
        rows, lengths = expand(starts, ends)
        pairs = torch.arange(len(spans), device=rows.device)
        pairs = pairs.repeat_interleave(lengths, output_size=len(rows))
        near = spans.index_select(0, pairs)  # row, 4
        distances = torch.cat(
            [
                self.head_distance(self._distance(rows, near[:, 0], near[:, 1])),
                self.tail_distance(self._distance(rows, near[:, 2], near[:, 3])),
            ],
            dim=1,
        )
        parts = token_parts.index_select(0, rows) + self.see_distances(distances)
        places = parts.view(len(rows), 2 * self.window + 1, -1).unbind(1)
        seen = places[self.window] + self.bias
        for offset in range(1, min(self.window + 1, len(rows))):
            # Neighbours of the same pair only.
            alike = (pairs[offset:] == pairs[:-offset]).unsqueeze(1)
            after = places[self.window + offset][offset:] * alike
            before = places[self.window - offset][:-offset] * alike
            seen = seen + F.pad(after, (0, 0, 0, offset)) + F.pad(before, (0, 0, offset, 0))
        return F.gelu(seen), lengths

    def _distance(self, rows: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Tokens before a span are below the middle of the table, those in it at the middle."""
        distance = (rows - start).clamp(max=0) + (rows - end + 1).clamp(min=0)
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def _mean(self, values: Tensor, starts: Tensor, ends: Tensor) -> Float[Tensor, "pair width"]:
        rows, lengths = expand(starts, ends)
        return Ragged(values.index_select(0, rows), lengths).mean()

    def _nothing(self, values: Tensor) -> Float[Tensor, "0 label"]:
        """Logits of no pairs, connected to the encoder so that a loss can go backward."""
        zero = values.sum() * 0.0
        return (self.output.weight.sum(1) * zero).unsqueeze(0)[:0]


def stretches(
    spans: Int[Tensor, "pair 4"],
    first: Int[Tensor, " pair"],
    beyond: Int[Tensor, " pair"],
    *,
    context: int,
) -> tuple[Int[Tensor, "pair 5"], Int[Tensor, "pair 5"]]:
    """Where the five stretches of each pair start and end.

    Args:
        spans: head and tail.
        first: the first row of the pair's sequence.
        beyond: the row after its last.
        context: the most rows before and after the pair.
    """
    head_start, head_end, tail_start, tail_end = spans.unbind(1)
    left = torch.minimum(head_start, tail_start)
    right = torch.maximum(head_end, tail_end)
    inner_start = torch.minimum(head_end, tail_end)
    inner_end = torch.maximum(head_start, tail_start).maximum(inner_start)
    starts = [torch.maximum(left - context, first), head_start, inner_start, tail_start, right]
    ends = [left, head_end, inner_end, tail_end, torch.minimum(right + context, beyond)]
    return torch.stack(starts, dim=1), torch.stack(ends, dim=1)


def split_rows(lengths: Int[Tensor, " pair"], limit: int) -> list[int]:
    """How many pairs to read at a time, so that each part but for its last pair has fewer rows.

    Args:
        lengths: the rows of each pair.
        limit: of the rows of a part.
    """
    numbers = (lengths.cumsum(0) - lengths) // limit
    counts = torch.bincount(numbers)
    return cast("list[int]", counts[counts > 0].tolist())  # pyright: ignore[reportUnknownMemberType]


def expand(
    starts: Int[Tensor, " range"], ends: Int[Tensor, " range"]
) -> tuple[Int[Tensor, " row"], Int[Tensor, " range"]]:
    """The rows of ranges one after the other, and how many each has."""
    lengths = ends - starts
    skipped = starts - (lengths.cumsum(0) - lengths)
    shifts = skipped.repeat_interleave(lengths)
    return torch.arange(len(shifts), device=starts.device) + shifts, lengths
