"""`spacy-torch.Module.v1`: a user's own torch module as a classifier's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.bridge.runtime import Runtime


def build_module(
    module: Callable[..., Any],
    features: Callable[..., Any],
    *,
    exclusive_classes: bool,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """A torch module of your own behind `textcat`, `torch_textcat` and their multilabel kin.

    Both callables must be importable (a class, a module-level function, a partial of one,
    an instance of a module-level class; no lambda) for `n_process` and pickle. Every
    dropout rate inside the module follows `[training.dropout]`, unless its layer has the
    attribute `pinned = True`.

    Args:
        module: the class, or a function or partial, that builds the module. Called once
            the labels are known, with the keyword `n_labels`. The module takes what
            `features` made and returns logits, a float tensor of shape (batch, label): no
            softmax, sigmoid, argmax or detach. It never sees a document without tokens:
            such a one has zero logits.
        features: list of documents -> the module's one argument: an array, a tensor, or
            any tuple, list or dict of them; an `ArgsKwargs` for several arguments.
            NumPy arrays of float64, its default, are cast to the type of the module's
            parameters, unless one of these is float64; tensors stay what they are.
        exclusive_classes: exactly one label is true (`textcat`), or any number.
        runtime: device, precision and the reaction to NaN.

    Raises:
        TypeError: `module` does not take `n_labels`, or `features` cannot be called.
    """
    if not callable(features):
        raise TypeError(
            "features must be a function from a list of Doc objects to the module's "
            f"argument, got {features!r}"
        )
    return build_classifier(
        module,
        features,
        name="spacy-torch.Module.v1",
        exclusive_classes=exclusive_classes,
        runtime=runtime,
        skip_empty=True,
    )
