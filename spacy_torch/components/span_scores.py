"""From the logits of a batch's spans to losses and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from spacy.tokens import Doc, SpanGroup
from torch import Tensor

from spacy_torch.components.gold_spans import GoldSpans
from spacy_torch.components.losses import Loss
from spacy_torch.components.span_groups import Scores
from spacy_torch.features.suggestions import Suggestions
from spacy_torch.nn.losses import binary_cross_entropy


@dataclass(frozen=True)
class SpanScores:
    """The spans of a batch that were looked at, and the probability of each label.

    Attributes:
        spans: the suggested ones or, with a proposer, its choice.
        values: shape (span, label).
    """

    spans: Suggestions
    values: Scores

    @staticmethod
    def none(spans: Suggestions, *, n_labels: int) -> SpanScores:
        """For a batch without any spans."""
        return SpanScores(spans, numpy.zeros((0, n_labels), dtype="float32"))

    @staticmethod
    def read(logits: Any, *, exclusive: bool) -> SpanScores:
        """Take them from the `SpanLogits` of a module."""
        values = logits.values.float()
        values = _with_none(values).softmax(1)[:, 1:] if exclusive else values.sigmoid()
        return SpanScores(Suggestions.of_batch(logits.spans), values.cpu().numpy())

    def split(self) -> list[Scores]:
        """The probabilities of each document's spans."""
        ends = self.spans.lengths.cumsum()
        return numpy.split(self.values, ends[:-1]) if len(ends) else []

    def make_groups(self, docs: Sequence[Doc]) -> list[SpanGroup]:
        """The spans of each document, without labels."""
        places = list(zip(self.spans.starts.tolist(), self.spans.ends.tolist(), strict=True))
        ends = self.spans.lengths.cumsum()
        return [
            SpanGroup(doc, spans=[doc[a:b] for a, b in places[stop - length : stop]])
            for doc, length, stop in zip(docs, self.spans.lengths, ends, strict=True)
        ]


def span_loss(
    loss: Loss, logits: Any, gold: GoldSpans, *, n_labels: int, exclusive: bool
) -> Tensor:
    """The loss summed over the spans of known documents, and that of the proposals."""
    spans = Suggestions.of_batch(logits.spans)
    rows = spans.find(gold.doc_ids, gold.starts, gold.ends)
    make_targets = gold.exclusive_targets if exclusive else gold.targets
    targets = torch.from_numpy(make_targets(spans, rows, n_labels=n_labels))
    values = _with_none(logits.values) if exclusive else logits.values
    total = loss(values, targets.to(values.device), None, exclusive=exclusive)
    if logits.candidates is None:
        return total
    candidates = Suggestions.of_batch(logits.candidates)
    rows = candidates.find(gold.doc_ids, gold.starts, gold.ends)
    wanted = torch.from_numpy(gold.wanted(candidates, rows, n_labels=n_labels)).to(values.device)
    return total + binary_cross_entropy(logits.proposals.unsqueeze(1), wanted)


def _with_none(logits: Tensor) -> Tensor:
    """A first column of zeros for having no label: only differences to it matter."""
    return torch.cat([logits.new_zeros(len(logits), 1), logits], 1)
