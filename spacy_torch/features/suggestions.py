"""The spans that a suggester proposes for a batch of documents, checked and in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc

from spacy_torch.features.token_ids import lengths_of
from spacy_torch.nn.span_batch import SpanBatch

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Suggestions:
    """Spans of a batch, one row each, in the order of the documents.

    Attributes:
        starts: the first token of each, counted from the start of its document.
        ends: the token behind its last.
        lengths: how many spans each document has.
        required: spans that a proposer may not leave out.
    """

    starts: Places
    ends: Places
    lengths: Places
    required: NDArray[np.bool_]

    @staticmethod
    def read(indices: Any, docs: Sequence[Doc]) -> Suggestions:
        """Take over what a suggester gave.

        Args:
            indices: Thinc's `Ragged`, a row (start, end) per span, a length per document.

        Raises:
            TypeError: it is something else.
            ValueError: a span is empty or not within its document, or the lengths do not
                fit the documents and the rows.
        """
        if not all(hasattr(indices, name) for name in ("dataXd", "lengths")):
            raise TypeError(
                "a suggester must return thinc.types.Ragged, a row (start, end) per span and a "
                f"length per document, got a {type(indices).__name__}"
            )
        data, lengths = _to_numpy(indices.dataXd), _to_numpy(indices.lengths)
        rows = data.reshape(-1, 2) if data.size == 0 else data
        if rows.ndim != 2 or rows.shape[1] != 2 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                "a suggester must give integers of shape (span, 2), the start and the end of "
                f"each span in tokens, got an array of {data.dtype} and shape {data.shape}"
            )
        if lengths.shape != (len(docs),) or lengths.sum() != len(rows) or (lengths < 0).any():
            raise ValueError(
                "a suggester must say how many spans each document has, got the lengths "
                f"{lengths.tolist()[:10]} for {len(docs)} documents and {len(rows)} spans"
            )
        lengths = lengths.astype(np.int64)
        starts, ends = rows.astype(np.int64).T
        n_tokens = np.repeat(lengths_of(docs), lengths)
        wrong = np.flatnonzero((starts < 0) | (ends <= starts) | (ends > n_tokens))
        if len(wrong):
            row = wrong[0]
            place = int(np.searchsorted(lengths.cumsum(), row, side="right"))
            raise ValueError(
                f"a suggester must give spans with 0 <= start < end <= the document's tokens, "
                f"but it gave ({starts[row]}, {ends[row]}) for document {place} of the batch, "
                f"which has {len(docs[place])} tokens: {docs[place].text[:60]!r}"
            )
        return Suggestions(starts, ends, lengths, np.zeros(len(starts), dtype=bool))

    @staticmethod
    def none(n_docs: int) -> Suggestions:
        """No span in any of so many documents."""
        empty = np.zeros(0, dtype=np.int64)
        return Suggestions(empty, empty, np.zeros(n_docs, dtype=np.int64), empty.astype(bool))

    @staticmethod
    def of_batch(spans: SpanBatch) -> Suggestions:
        """The spans that a module classified."""
        return Suggestions(*(tensor.cpu().numpy() for tensor in spans))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def doc_ids(self) -> Places:
        """For each span, the number of its document."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def to_batch(self) -> SpanBatch:
        """As tensors, for the module."""
        arrays = (self.starts, self.ends, self.lengths, self.required)
        return SpanBatch(*map(torch.from_numpy, arrays))

    def distinct(self) -> Suggestions:
        """Each span once, by document, start and end."""
        steps = np.diff(self._keys(self.doc_ids, self.starts, self.ends))
        if (steps > 0).all():
            return self
        return self._from_rows(self.doc_ids, self.starts, self.ends, self.required)

    def require(self, doc_ids: Places, starts: Places, ends: Places) -> Suggestions:
        """With these spans among them, and required."""
        return self._from_rows(
            np.concatenate([doc_ids, self.doc_ids]),
            np.concatenate([starts, self.starts]),
            np.concatenate([ends, self.ends]),
            np.concatenate([np.ones(len(starts), dtype=bool), self.required]),
        )

    def require_all(self) -> Suggestions:
        """The same spans, none of which may be left out."""
        return Suggestions(self.starts, self.ends, self.lengths, np.ones(len(self), dtype=bool))

    def spread(self, mask: NDArray[np.bool_]) -> Suggestions:
        """The same in a batch of more documents: where the mask is false, one without spans."""
        lengths = np.zeros(len(mask), dtype=np.int64)
        lengths[mask] = self.lengths
        return Suggestions(self.starts, self.ends, lengths, self.required)

    def find(self, doc_ids: Places, starts: Places, ends: Places) -> Places:
        """The row of each of these spans, -1 where it is not among the (distinct) suggestions."""
        if not len(self):
            return np.full(len(starts), -1)
        # One factor for both, so that their keys can be compared.
        longest = max(int(self.ends.max()), int(ends.max(initial=0))) + 1
        keys = _join(self.doc_ids, self.starts, self.ends, longest)
        wanted = _join(doc_ids, starts, ends, longest)
        rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[rows] == wanted, rows, -1)

    def _keys(self, doc_ids: Places, starts: Places, ends: Places) -> Places:
        return _join(doc_ids, starts, ends, int(ends.max(initial=0)) + 1)

    def _from_rows(
        self, doc_ids: Places, starts: Places, ends: Places, required: NDArray[np.bool_]
    ) -> Suggestions:
        # Of equal spans np.unique gives the first: those required come first, or none is.
        _, rows = np.unique(self._keys(doc_ids, starts, ends), return_index=True)
        lengths = np.bincount(doc_ids[rows], minlength=len(self.lengths)).astype(np.int64)
        return Suggestions(starts[rows], ends[rows], lengths, required[rows])


def _join(doc_ids: Places, starts: Places, ends: Places, longest: int) -> Places:
    """A number per span, in the order of document, start and end."""
    return (doc_ids * longest + starts) * longest + ends


def _to_numpy(array: Any) -> NDArray[Any]:
    return np.asarray(array.get() if hasattr(array, "get") else array)  # also from CuPy
