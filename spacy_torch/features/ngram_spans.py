"""All spans of a few sizes, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.tokens import Doc
from thinc.api import Ops, get_current_ops
from thinc.types import Ragged

from spacy_torch.features.token_ids import lengths_of


@dataclass(frozen=True)
class NgramSpans:
    """Suggests every span of `min_size` to `max_size` tokens, ordered by start and size."""

    min_size: int
    max_size: int

    def __call__(self, docs: Iterable[Doc], *, ops: Ops | None = None) -> Ragged:
        """A row (start, end) per span; documents shorter than `min_size` have none."""
        ops = get_current_ops() if ops is None else ops
        n_tokens = lengths_of(list(docs))
        sizes = np.arange(self.min_size, self.max_size + 1)
        offsets = n_tokens.cumsum() - n_tokens
        places = np.arange(n_tokens.sum()) - np.repeat(offsets, n_tokens)  # token
        fits = places[:, None] + sizes <= np.repeat(n_tokens, n_tokens)[:, None]  # token, size
        tokens, columns = np.nonzero(fits)
        starts = places[tokens]
        lengths = np.maximum(n_tokens[:, None] - sizes + 1, 0).sum(1)
        rows: Any = np.stack([starts, starts + sizes[columns]], axis=1).astype("int32")
        return Ragged(ops.asarray2i(rows), ops.asarray1i(lengths.astype("int32")))


def build_ngram_spans(*, min_size: int = 1, max_size: int = 8) -> NgramSpans:
    """All spans of these sizes: the suggestions of `spacy.ngram_range_suggester.v1`, sooner.

    Raises:
        ValueError: the sizes are not positive, or the wrong way round.
    """
    if not 1 <= min_size <= max_size:
        raise ValueError(
            f"sizes must be 1 <= min_size <= max_size, got min_size = {min_size} and "
            f"max_size = {max_size}"
        )
    return NgramSpans(min_size, max_size)
