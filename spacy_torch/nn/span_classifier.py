"""Classify spans: encode, describe each span, one hidden layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.span_batch import SpanBatch
from spacy_torch.nn.span_features import SpanFeatures, SpanPooling
from spacy_torch.nn.span_proposer import SpanProposer

if TYPE_CHECKING:
    from jaxtyping import Float

# An untrained classifier gives a label to one span in fifty: nearly all spans have none, and
# learning that first would drown the rest (the prior of Lin et al. 2017, section 3.3,
# https://arxiv.org/abs/1708.02002).
_PRIOR_LOGIT = -4.0


class SpanLogits(NamedTuple):
    """What a span classifier says of a batch.

    Attributes:
        values: the logits of the spans that were classified.
        spans: these spans.
        proposals: with a proposer, the logit of each candidate's being worth it.
        candidates: with a proposer, the spans it chose from.
    """

    values: Float[Tensor, "span label"]
    spans: SpanBatch
    proposals: Float[Tensor, " candidate"] | None = None
    candidates: SpanBatch | None = None


class SpanClassifier(nn.Module):
    """Encoder, span features, a non-linearity and one linear layer, a row of logits per span.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors.
        width: the size of these vectors.
        hidden_width: the size of the span vectors; see `SpanFeatures` for the next two.
        proposer: looks at all candidates and hands on the best.
        dropout: a module applied to the span vectors.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        n_labels: int,
        hidden_width: int,
        pooling: Sequence[SpanPooling],
        n_sizes: int,
        proposer: SpanProposer | None = None,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = width
        self.proposer = proposer
        self.features = SpanFeatures(
            width=width, hidden_width=hidden_width, pooling=pooling, n_sizes=n_sizes
        )
        self.norm = nn.LayerNorm(hidden_width)
        self.dropout = dropout if dropout is not None else nn.Identity()
        self.output = nn.Linear(hidden_width, n_labels)
        nn.init.constant_(self.output.bias, _PRIOR_LOGIT)

    def forward(self, batch: Any, spans: SpanBatch) -> SpanLogits:
        """Score the spans of a batch, or those of them that the proposer chooses.

        Raises:
            TypeError, ValueError: the encoder returned something else than such vectors.
        """
        tokens = self.encoder(batch)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        proposals = candidates = None
        if self.proposer is not None:
            candidates = spans
            proposals = self.proposer(tokens, candidates)
            chosen = self.proposer.choose(proposals.detach(), tokens, candidates)
            spans = candidates.keep(chosen)
        hidden = F.gelu(self.norm(self.features(tokens, spans)))
        values = self.output(self.dropout(hidden))
        return SpanLogits(values, spans, proposals, candidates)
