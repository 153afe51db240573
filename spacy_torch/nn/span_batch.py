"""The spans of a batch of documents, kept without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class SpanBatch(NamedTuple):
    """Spans as one row each, in the order of the documents.

    Attributes:
        starts: the first token of each span, counted from the start of its document.
        ends: the token behind its last.
        lengths: how many spans each document has.
        required: spans that may not be left out.
    """

    starts: Int[Tensor, " span"]
    ends: Int[Tensor, " span"]
    lengths: Int[Tensor, " batch"]
    required: Bool[Tensor, " span"]

    def sequence_ids(self) -> Int[Tensor, " span"]:
        """For each span, the number of the document it belongs to."""
        return Ragged(self.starts, self.lengths).sequence_ids()

    def rows(self, tokens: Ragged) -> tuple[Int[Tensor, " span"], Int[Tensor, " span"]]:
        """Starts and ends as rows of the batch's tokens."""
        offsets = tokens.offsets().index_select(0, self.sequence_ids())
        return self.starts + offsets, self.ends + offsets

    def keep(self, mask: Bool[Tensor, " span"]) -> SpanBatch:
        """Only the spans for which the mask is true."""
        lengths = Ragged(mask.to(self.lengths.dtype).unsqueeze(1), self.lengths).sum()
        return SpanBatch(
            self.starts[mask], self.ends[mask], lengths.squeeze(1), self.required[mask]
        )
