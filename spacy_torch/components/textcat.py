"""`torch_textcat` and `torch_textcat_multilabel`: the label, or the labels, of a text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model
from torch import Tensor, nn
from typing_extensions import override

from spacy_torch.bridge.model import get_shim
from spacy_torch.components.losses import Loss
from spacy_torch.components.torch_pipe import TorchPipe

logger = logging.getLogger(__name__)

ClassWeights = Literal["balanced"] | dict[str, float]

DEFAULT_MODEL = """
[model]
@architectures = "spacy-torch.TextCatEnsemble.v1"
exclusive_classes = {exclusive}

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"
width = 64
depth = 2
attrs = ["NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE"]
rows = [2000, 2000, 500, 1000, 500]
"""
EXCLUSIVE_MODEL = Config().from_str(DEFAULT_MODEL.format(exclusive="true"))["model"]
MULTILABEL_MODEL = Config().from_str(DEFAULT_MODEL.format(exclusive="false"))["model"]

SCORE_WEIGHTS = {
    "cats_score": 1.0,
    "cats_score_desc": None,
    "cats_micro_p": None,
    "cats_micro_r": None,
    "cats_micro_f": None,
    "cats_macro_p": None,
    "cats_macro_r": None,
    "cats_macro_f": None,
    "cats_macro_auc": None,
    "cats_f_per_type": None,
}


@Language.factory(
    "torch_textcat",
    assigns=["doc.cats"],
    default_config={
        "model": EXCLUSIVE_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "class_weights": None,
        "threshold": 0.0,
        "scorer": {"@scorers": "spacy.textcat_scorer.v2"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_textcat(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    class_weights: ClassWeights | None,
    threshold: float,
    scorer: Callable[..., Any] | None,
) -> TextCategorizer:
    """One label per text, as probabilities in `doc.cats`."""
    return TextCategorizer(
        nlp.vocab,
        model,
        name,
        exclusive=True,
        loss=loss,
        class_weights=class_weights,
        threshold=threshold,
        scorer=scorer,
    )


@Language.factory(
    "torch_textcat_multilabel",
    assigns=["doc.cats"],
    default_config={
        "model": MULTILABEL_MODEL,
        "loss": {"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"},
        "class_weights": None,
        "threshold": 0.5,
        "thresholds": {},
        "scorer": {"@scorers": "spacy-torch.textcat_multilabel_scorer.v1"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    class_weights: ClassWeights | None,
    threshold: float,
    thresholds: dict[str, float],
    scorer: Callable[..., Any] | None,
) -> TextCategorizer:
    """Any number of labels per text, each with its probability in `doc.cats`."""
    return TextCategorizer(
        nlp.vocab,
        model,
        name,
        exclusive=False,
        loss=loss,
        class_weights=class_weights,
        threshold=threshold,
        thresholds=thresholds,
        scorer=scorer,
    )


class TextCategorizer(TorchPipe):
    """Score the labels of a text.

    A label that an example's `cats` do not name is unknown and trains nothing; one
    marked 0.0 is known to be false. With exclusive labels one marked 1.0 settles all
    the others.

    Args:
        exclusive: exactly one label is true.
        class_weights: one weight per label, or "balanced": weights that make up for
            different counts, taken from the examples at initialization.
        threshold: the score from which a label counts as predicted in evaluation.
        thresholds: the same for single labels, before `threshold`.

    Raises:
        ValueError: loss or model are for the other kind of labels, or a threshold is not
            between 0 and 1.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        exclusive: bool,
        loss: Loss,
        class_weights: ClassWeights | None = None,
        threshold: float = 0.5,
        thresholds: dict[str, float] | None = None,
        scorer: Callable[..., dict[str, Any]] | None = textcat_score,
    ) -> None:
        _check_parts(name, model, loss, exclusive)
        _check_thresholds(name, threshold, thresholds or {})
        super().__init__(
            vocab,
            model,
            name,
            scorer=scorer,
            threshold=threshold,
            thresholds=dict(thresholds or {}),
            positive_label=None,
            class_weights=None,
        )
        self.exclusive = exclusive
        self.loss = loss
        self.class_weights = class_weights
        self._unknown_labels: set[str] = set()

    @property
    def support_missing_values(self) -> bool:
        """Unknown labels are masked."""
        return True

    @property
    @override
    def loss_name(self) -> str:
        return repr(self.loss)

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        labels = self.labels
        for doc, row in zip(docs, scores.tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Tensor) -> Tensor:
        targets = torch.from_numpy(self.read_targets(examples)).to(logits.device)
        weights = self.cfg["class_weights"]
        if weights is not None:
            weights = torch.tensor([weights.get(label, 1.0) for label in self.labels])
            weights = weights.to(logits.device)
        return self.loss(logits, targets, weights, exclusive=self.exclusive)

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Mean squared error and its gradient, as spaCy's own `textcat` reports it."""
        targets = self.read_targets(list(examples))
        difference = numpy.where(numpy.isnan(targets), 0.0, scores - targets)
        return float((difference**2).mean()), difference

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
    ) -> None:
        """Take the labels from the examples, or as given, and build the module.

        Raises:
            ValueError: there are too few labels, `positive_label` is not one of two, or
                class weights or thresholds name something else than a label.
        """
        self._check_initialize(get_examples)
        for label in labels if labels is not None else _find_labels(get_examples()):
            self.add_label(label)
        self._check_label_count()
        self._check_positive_label(positive_label)
        self._check_known("thresholds", self.cfg["thresholds"])
        self.cfg["positive_label"] = positive_label
        self.cfg["class_weights"] = self._weigh_classes(get_examples)
        sample = list(islice(get_examples(), 10))
        truth = numpy.nan_to_num(self.read_targets(sample))
        self.model.initialize(X=[eg.reference for eg in sample], Y=truth)
        self._note_labels()

    def read_targets(self, examples: Sequence[Example]) -> NDArray[numpy.float32]:
        """The truth as an array of shape (batch, label): 1, 0, and NaN where unknown.

        Raises:
            ValueError: a value is not 0 or 1, or exclusive labels have two true ones.
        """
        labels = self.labels
        cats = [example.reference.cats for example in examples]
        if all(tuple(row) == labels for row in cats):  # the usual case, and the fast one
            values = chain.from_iterable(row.values() for row in cats)
            flat = numpy.fromiter(values, dtype="float32", count=len(cats) * len(labels))
            targets = flat.reshape(len(cats), len(labels))
        else:
            targets = self._place_targets(cats)
        self._check_targets(examples, targets)
        return targets

    def _place_targets(self, cats: Sequence[dict[str, float]]) -> NDArray[numpy.float32]:
        columns = {label: column for column, label in enumerate(self.labels)}
        targets = numpy.full((len(cats), len(columns)), numpy.nan, dtype="float32")
        for row, values in zip(targets, cats, strict=True):
            for label, value in values.items():
                if label in columns:
                    row[columns[label]] = value
                elif value:
                    self._warn_unknown(label)
        return targets

    def _warn_unknown(self, label: str) -> None:
        if label not in self._unknown_labels:
            self._unknown_labels.add(label)
            logger.warning(
                "%r does not know the label %r of a training example and learns nothing from "
                "it: call add_label(%r) first. The labels are %s.",
                self.name,
                label,
                label,
                list(self.labels),
            )

    def _check_targets(self, examples: Sequence[Example], targets: NDArray[numpy.float32]) -> None:
        valid = numpy.isnan(targets) | (targets == 0) | (targets == 1)
        wrong = ~valid.all(axis=1)
        too_many = (targets == 1).sum(axis=1) > 1 if self.exclusive else numpy.zeros_like(wrong)
        for row in numpy.flatnonzero(wrong | too_many)[:1]:
            cats = {k: v for k, v in examples[row].reference.cats.items() if v != 0}
            rule = (
                "each value must be 1.0 (true) or 0.0 (false)"
                if wrong[row]
                else "exactly one label may be 1.0; use torch_textcat_multilabel for several"
            )
            raise ValueError(
                f"{self.name!r}: the example {examples[row].reference.text[:60]!r} has the "
                f"categories {cats}, but {rule}"
            )

    def _check_label_count(self) -> None:
        needed = 2 if self.exclusive else 1
        if len(self.labels) < needed:
            raise ValueError(
                f"{self.name!r} needs at least {needed} label{'s' * (needed > 1)}, found "
                f"{list(self.labels)}: annotate doc.cats in the training examples, pass labels= "
                "to initialize(), or call add_label()"
                + (
                    '; for one yes-or-no label use "torch_textcat_multilabel"'
                    if self.exclusive
                    else ""
                )
            )

    def _check_positive_label(self, positive_label: str | None) -> None:
        if positive_label is None:
            return
        if positive_label not in self.labels or len(self.labels) != 2 or not self.exclusive:
            raise ValueError(
                f"{self.name!r}: positive_label must be one of two exclusive labels, got "
                f"{positive_label!r} with the labels {list(self.labels)}"
            )

    def _check_known(self, setting: str, by_label: dict[str, float]) -> None:
        unknown = sorted(set(by_label) - set(self.labels))
        if unknown:
            raise ValueError(
                f"{self.name!r}: {setting} names {unknown}, which are no labels; the labels are "
                f"{list(self.labels)}"
            )

    def _weigh_classes(
        self, get_examples: Callable[[], Iterable[Example]]
    ) -> dict[str, float] | None:
        if self.class_weights is None:
            return None
        if isinstance(self.class_weights, dict):
            self._check_known("class_weights", self.class_weights)
            return dict(self.class_weights)
        targets = self.read_targets(list(get_examples()))
        true, false = (targets == 1).sum(0), (targets == 0).sum(0)
        if self.exclusive:
            weights = true.sum() / (len(self.labels) * numpy.maximum(true, 1))
        else:
            weights = numpy.maximum(false, 1) / numpy.maximum(true, 1)
        return dict(zip(self.labels, weights.astype(float).tolist(), strict=True))


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


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return list(dict.fromkeys(label for eg in examples for label in eg.reference.cats))


def _check_parts(name: str, model: Model[Any, Any], loss: Loss, exclusive: bool) -> None:
    _check_model(name, model)
    _check_loss(name, loss)
    kind = "exclusive labels" if exclusive else "labels that do not exclude each other"
    if not model.has_ref("logits"):
        raise ValueError(
            f"{name!r}: the model {model.name!r} has no logits inside; use an architecture of "
            "spacy-torch such as spacy-torch.TextCatEnsemble.v1, or the stock component"
        )
    get_shim(model.get_ref("logits"))
    if model.attrs.get("multi_label") is exclusive:
        raise ValueError(
            f"{name!r} has {kind}: set exclusive_classes = {str(exclusive).lower()} in its "
            "[model] block"
        )
    if not loss.serves(exclusive=exclusive):
        raise ValueError(
            f"{name!r} has {kind}, which the loss {loss!r} does not serve: use "
            + ("spacy-torch.CrossEntropy.v1" if exclusive else "spacy-torch.BinaryCrossEntropy.v1")
            + " or spacy-torch.Focal.v1"
        )


def _check_model(name: str, model: object) -> None:
    if isinstance(model, Model):
        return
    what = f"a {type(model).__name__}"
    step = "return build_module(MyModule, features) from your function"
    if isinstance(model, nn.Module):
        what += " (a torch module)"
        step = f"return build_module({type(model).__name__}, features) from your function"
    elif isinstance(model, type):
        what = f"the class {model.__name__}"
        step = f"return build_module({model.__name__}, features) from your function"
    elif model is None:
        what = "None"
        step = "end your function with `return build_module(MyModule, features)`"
    elif hasattr(model, "featurize"):  # an Encoder, which this layer does not import
        what = f"an {type(model).__name__}"
        step = (
            "an encoder belongs in the [model.encoder] block of an architecture such as "
            "spacy-torch.TextCat.v1, registered under @torch_encoders"
        )
    raise TypeError(f"{name!r}: the model must be a Thinc Model, got {what}: {step}")


def _check_loss(name: str, loss: object) -> None:
    if isinstance(loss, type) or not isinstance(loss, Loss):
        what = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise TypeError(
            f"{name!r}: the loss must be an object with the two methods __call__(logits, targets, "
            f"weights, *, exclusive) and serves(*, exclusive), got {what}: return an instance of "
            "such a class from the function registered under @torch_losses"
        )


def _check_thresholds(name: str, threshold: float, thresholds: dict[str, float]) -> None:
    # Not `value < 0 or value > 1`: NaN is no threshold either.
    wrong = {label: value for label, value in thresholds.items() if not 0 <= value <= 1}
    if wrong or not 0 <= threshold <= 1:
        raise ValueError(
            f"{name!r}: a threshold must be between 0 and 1, as scores are, got "
            + (f"thresholds = {wrong}" if wrong else f"threshold = {threshold}")
        )
