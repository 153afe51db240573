"""What a text classifier accepts as its model, its loss, its thresholds and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinc.api import Model
from torch import nn

from spacy_torch.components.losses import Loss
from spacy_torch.components.parts import check_loss, check_model, check_serves


def check_parts(name: str, *, model: Model[Any, Any], loss: Loss, exclusive: bool) -> None:
    """Hold a component's model and loss against each other and the kind of its labels.

    Raises:
        TypeError: one of them is something else altogether.
        ValueError: one of them is for the other kind of labels.
    """
    _check_is_model(name, model, exclusive)
    check_model(name, model, logits_of="text", architecture="spacy-torch.TextCatEnsemble.v1")
    check_loss(name, loss)
    kind = "exclusive labels" if exclusive else "labels that do not exclude each other"
    if model.attrs.get("multi_label") is exclusive:
        raise ValueError(
            f"{name!r} has {kind}: set exclusive_classes = {str(exclusive).lower()} in its "
            "[model] block, or in your own call of build_module()"
        )
    check_serves(name, loss, exclusive=exclusive)


def check_thresholds(name: str, threshold: float, thresholds: dict[str, float]) -> None:
    """Raise a `ValueError` for a threshold that no score can be compared with."""
    # Not `value < 0 or value > 1`: NaN is no threshold either.
    wrong = {label: value for label, value in thresholds.items() if not 0 <= value <= 1}
    if wrong or not 0 <= threshold <= 1:
        raise ValueError(
            f"{name!r}: a threshold must be between 0 and 1, as scores are, got "
            + (f"thresholds = {wrong}" if wrong else f"threshold = {threshold}")
        )


def check_labels(
    name: str, labels: Sequence[str], *, exclusive: bool, positive_label: str | None
) -> None:
    """Raise a `ValueError` for too few labels, or a positive one that is not one of two."""
    needed = 2 if exclusive else 1
    if len(labels) < needed:
        raise ValueError(
            f"{name!r} needs at least {needed} label{'s' * (needed > 1)}, found {list(labels)}: "
            "annotate doc.cats in the training examples, pass labels= to initialize(), or call "
            "add_label()"
            + ('; for one yes-or-no label use "torch_textcat_multilabel"' if exclusive else "")
        )
    if positive_label is None:
        return
    if positive_label not in labels or len(labels) != 2 or not exclusive:
        raise ValueError(
            f"{name!r}: positive_label must be one of two exclusive labels, got "
            f"{positive_label!r} with the labels {list(labels)}"
        )


def _check_is_model(name: str, model: object, exclusive: bool) -> None:
    if isinstance(model, Model):
        return
    what = f"a {type(model).__name__}"
    settings = f"features, exclusive_classes={exclusive}"
    step = f"return build_module(MyModule, {settings}) from your function"
    if isinstance(model, nn.Module):
        what += " (a torch module)"
        step = f"return build_module({type(model).__name__}, {settings}) from your function"
    elif isinstance(model, type):
        what = f"the class {model.__name__}"
        step = f"return build_module({model.__name__}, {settings}) from your function"
    elif model is None:
        what = "None"
        step = f"end your function with `return build_module(MyModule, {settings})`"
    elif hasattr(model, "featurize"):  # an Encoder, which this layer does not import
        what = f"an {type(model).__name__}"
        step = (
            "an encoder belongs in the [model.encoder] block of an architecture such as "
            "spacy-torch.TextCat.v1, registered under @torch_encoders"
        )
    raise TypeError(f"{name!r}: the model must be a Thinc Model, got {what}: {step}")
