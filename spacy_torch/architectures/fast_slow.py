"""What the fast classifiers of texts and of images share: wiring the pair of learners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from spacy.tokens import Doc
from thinc.api import Model
from torch import nn

from spacy_torch.architectures.encoder import MeasureDocs
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import get_shim
from spacy_torch.nn.fast.classifier import FastBatch, FastClassifier
from spacy_torch.nn.fast.pair import FastSlowClassifier, PairBatch
from spacy_torch.nn.fast.regression import Regression


@dataclass(frozen=True)
class SlowPart:
    """The module inside a classifier's model, to be built and fed as a part of another one."""

    build: ModuleBuilder
    featurize: Callable[[Sequence[Doc]], Any]
    measure: MeasureDocs | None

    @classmethod
    def of(
        cls, model: Model[Any, Any] | None, *, name: str, exclusive_classes: bool
    ) -> SlowPart | None:
        """Take a model apart that `build_classifier` made; None gives None.

        Raises:
            TypeError: it is something else.
            ValueError: it is for the other kind of labels, or reads a tok2vec that other
                components share.
        """
        if model is None:
            return None
        if not isinstance(model, Model) or not model.has_ref("logits"):
            what = f"the model {model.name!r}" if isinstance(model, Model) else repr(model)
            raise TypeError(
                f"{name}: slow must be a classifier of this package, such as "
                f"spacy-torch.TextCatEnsemble.v1, or null, got {what}"
            )
        if model.attrs["logits_of"] != "text":
            raise TypeError(
                f"{name}: slow must classify whole documents, but {model.name!r} is about "
                f"{model.attrs['logits_of']}s: use spacy-torch.TextCatEnsemble.v1 or the like"
            )
        if model.attrs["multi_label"] is exclusive_classes:
            raise ValueError(
                f"{name} has exclusive_classes = {str(exclusive_classes).lower()}, but its slow "
                f"part {model.name!r} has not: set both to the same"
            )
        logits = model.get_ref("logits")
        if logits.layers:
            raise ValueError(
                f"{name}: the slow part {model.name!r} reads the Thinc tok2vec "
                f"{logits.layers[0].name!r}, which it cannot do as a part: give it an encoder of "
                "this package, such as spacy-torch.HashEmbedCNN.v1"
            )
        measure = logits.attrs["measure"]
        return cls(
            get_shim(logits).build,
            logits.attrs["featurize"],
            measure.keywords["measure"] if measure is not None else None,
        )


def build_fast_slow(
    build_features: ModuleBuilder,
    build_slow: ModuleBuilder | None,
    *,
    width: int,
    exclusive: bool,
    n_labels: int,
    n_answers: int = 0,
    regression: Regression | None = None,
    **sizes: Any,
) -> nn.Module:
    """The torch module of a fast classifier, with or without a slow learner beside it."""
    fast = FastClassifier(
        build_sized(build_features, sizes),
        width=width,
        n_labels=n_labels,
        exclusive=exclusive,
        n_answers=n_answers,
        regression=regression,
    )
    if build_slow is None:
        return fast
    return FastSlowClassifier(
        fast=fast, slow=build_sized(build_slow, {**sizes, "n_labels": n_labels})
    )


class FastSlowFeatures:
    """What the learners read, and the keys by which the fast one knows its answers.

    Args:
        keys: documents -> an int64 number each.
        fast: documents -> what the fast learner's features are made from.
        slow: documents -> what the slow learner reads, if there is one.
    """

    def __init__(
        self,
        keys: Callable[[Sequence[Doc]], torch.Tensor],
        fast: Callable[[Sequence[Doc]], Any],
        slow: Callable[[Sequence[Doc]], Any] | None,
    ) -> None:
        self.keys = keys
        self.fast = fast
        self.slow = slow

    def __call__(self, docs: Sequence[Doc]) -> FastBatch | PairBatch:
        """Featurize the documents for both."""
        batch = FastBatch(self.keys(docs), self.fast(docs))
        return batch if self.slow is None else PairBatch(batch, self.slow(docs))
