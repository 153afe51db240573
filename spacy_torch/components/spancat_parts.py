"""What a span categorizer accepts as its parts, its settings and its suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from spacy.pipeline.spancat import Suggester
from spacy.tokens import Doc
from thinc.api import Model, Ops

from spacy_torch.components.losses import Loss
from spacy_torch.components.parts import check_any_label, check_loss, check_model, check_serves
from spacy_torch.components.span_groups import Overlap
from spacy_torch.components.textcat_parts import check_thresholds
from spacy_torch.features.suggestions import Suggestions


def check_parts(name: str, *, model: Model[Any, Any], loss: Loss, suggester: object) -> None:
    """Hold model, loss and suggester against what the component needs; see `parts`.

    Raises:
        TypeError: one of them is something else altogether.
        ValueError: the model is for another task, or the loss for other labels.
    """
    check_model(name, model, logits_of="span", architecture="spacy-torch.SpanClassifier.v1")
    check_loss(name, loss)
    check_serves(name, loss, exclusive=not model.attrs.get("multi_label", True))
    if not callable(suggester):
        raise TypeError(
            f"{name!r}: the suggester must be a function of documents, got {suggester!r:.100}: "
            'name one in its [suggester] block, such as @misc = "spacy-torch.NgramSpans.v1"'
        )


def check_settings(
    name: str,
    *,
    spans_key: str,
    threshold: float,
    thresholds: dict[str, float],
    max_positive: int | None,
    overlap: Overlap,
) -> None:
    """Raise a `ValueError` for a setting out of its range."""
    check_thresholds(name, threshold, thresholds)
    if not spans_key:
        raise ValueError(f"{name!r}: spans_key must not be empty: it names a group in doc.spans")
    if max_positive is not None and max_positive < 1:
        raise ValueError(
            f"{name!r}: max_positive must be at least 1, or null for no limit, got {max_positive}"
        )
    if overlap not in get_args(Overlap):
        choices = ", ".join(get_args(Overlap))
        raise ValueError(f"{name!r}: overlap must be one of {choices}, got {overlap!r}")


def check_labels_known(
    name: str, labels: Sequence[str], thresholds: dict[str, float], *, key: str
) -> None:
    """Raise a `ValueError` if there is no label, or a threshold of something else."""
    step = f"annotate doc.spans[{key!r}] in the training examples"
    check_any_label(name, labels, step=step)
    unknown = sorted(set(thresholds) - set(labels))
    if unknown:
        raise ValueError(
            f"{name!r}: thresholds names {unknown}, which are no labels; the labels are "
            f"{list(labels)}"
        )


def run_suggester(name: str, suggester: Suggester, docs: Sequence[Doc], *, ops: Ops) -> Suggestions:
    """What a suggester gives for documents, checked, each span once.

    Raises:
        TypeError, ValueError: it gives no spans of these documents; the error names the
            component.
    """
    try:
        indices = suggester(docs, ops=ops)
    except KeyError as error:
        raise ValueError(
            f"{name!r}: the suggester misses {error.args[0]!r}, in doc.spans as a rule: let a "
            "component before this one write it, and name that one in "
            "[training.annotating_components] so that it is there while training"
        ) from error
    try:
        return Suggestions.read(indices, docs).distinct()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name!r}: {error}") from error
