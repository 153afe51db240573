"""From the probabilities of a batch's spans to the span groups of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc, Span, SpanGroup

from spacy_torch.features.suggestions import Suggestions

Overlap = Literal["all", "between_labels", "none"]
Scores = NDArray[numpy.float32]


def choose_labels(
    scores: Scores, thresholds: Scores, *, max_positive: int | None
) -> NDArray[numpy.bool_]:
    """Which labels each span gets: those that reach their threshold, the best of them.

    Args:
        scores: shape (span, label).
        thresholds: one per label.
        max_positive: how many labels a span may have; None for no limit. Of equal scores
            those of the first labels win.
    """
    chosen = scores >= thresholds
    if max_positive is not None and max_positive < scores.shape[1]:
        order = numpy.argsort(-scores, axis=1, kind="stable")
        numpy.put_along_axis(chosen, order[:, max_positive:], False, axis=1)
    return chosen


def write_groups(
    docs: Sequence[Doc],
    spans: Suggestions,
    scores: Scores,
    chosen: NDArray[numpy.bool_],
    *,
    key: str,
    labels: Sequence[str],
    overlap: Overlap,
) -> None:
    """Set `doc.spans[key]` with the score of each span in `attrs["scores"]`, float32.

    Spans stand in the order of the suggestions. Where spans may not overlap, better ones
    come first and those that overlap with one that was taken are left out.
    """
    rows, columns = numpy.nonzero(chosen)
    values = scores[rows, columns]
    counts = numpy.bincount(spans.doc_ids[rows], minlength=len(docs))
    stops = counts.cumsum()
    for doc, start, stop in zip(docs, stops - counts, stops, strict=True):
        part = slice(start, stop)
        places = numpy.stack([spans.starts[rows[part]], spans.ends[rows[part]], columns[part]], 1)
        kept = numpy.arange(len(places))
        if overlap != "all" and len(places) > 1:
            kept = _leave_out_overlaps(places, values[part], len(doc), overlap=overlap)
        found = [
            Span(doc, first, last, label=labels[int(column)])
            for first, last, column in places[kept]
        ]
        group = SpanGroup(doc, name=key, spans=found)
        group.attrs["scores"] = values[part][kept]
        doc.spans[key] = group


def _leave_out_overlaps(
    places: NDArray[numpy.int64], values: Scores, n_tokens: int, *, overlap: Overlap
) -> NDArray[numpy.int64]:
    """Take the best span again and again that no token of one taken before is in."""
    n_layers = int(places[:, 2].max()) + 1 if overlap == "between_labels" else 1
    taken = numpy.zeros((n_layers, n_tokens), dtype=bool)
    kept: list[int] = []
    for place in numpy.argsort(-values, kind="stable").tolist():
        start, end, column = places[place].tolist()
        tokens = taken[column if n_layers > 1 else 0, start:end]
        if not tokens.any():
            tokens[:] = True
            kept.append(place)
    return numpy.array(sorted(kept), dtype=numpy.int64)
