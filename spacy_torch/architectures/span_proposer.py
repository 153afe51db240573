"""`spacy-torch.SpanProposer.v1`: the learned suggester inside a span classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spacy_torch.nn.span_proposer import SpanProposer


def build_span_proposer(
    *, rank: int = 32, per_token: float = 0.5, at_least: int = 2
) -> Callable[..., SpanProposer]:
    """Hand on the best of the suggested spans, by a score of their ends that is trained along.

    For the `proposer` of `spacy-torch.SpanClassifier.v1`. The suggester of the component
    says what may be chosen from, such as all spans of up to 20 tokens.
    """
    return partial(SpanProposer, rank=rank, per_token=per_token, at_least=at_least)
