"""The scores of labels that do not exclude each other, with a threshold for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example


def score_multilabel(
    examples: Iterable[Example],
    *,
    threshold: float = 0.5,
    thresholds: dict[str, float] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Give spaCy's multi-label scores, with a threshold of its own for any label.

    A score is stretched so that its label's threshold becomes 0.5; its order among the
    scores of that label, and so the area under the curve, stays.
    """
    limits = thresholds or {}

    def get_cats(doc: Doc, attr: str) -> dict[str, float]:
        return {
            label: _stretch(score, limits.get(label, threshold))
            for label, score in doc.cats.items()
        }

    return Scorer.score_cats(
        examples, "cats", getter=get_cats, multi_label=True, threshold=0.5, **settings
    )


def make_textcat_multilabel_scorer() -> Callable[..., dict[str, Any]]:
    """The multi-label scores of `doc.cats`, with thresholds per label."""
    return score_multilabel


def _stretch(score: float, threshold: float) -> float:
    if score in (0.0, 1.0):  # also the gold values, which must stay what they are
        return score
    if score < threshold:
        return 0.5 * score / threshold
    return 0.5 + 0.5 * (score - threshold) / (1 - threshold)
