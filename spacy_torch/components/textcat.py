"""`torch_textcat` and `torch_textcat_multilabel`: the label, or the labels, of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model, set_dropout_rate
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import draw_tensors
from spacy_torch.components.answers import (
    answer,
    forget,
    has_slow,
    is_guessing,
    learn_pool,
    read_rows,
)
from spacy_torch.components.category_targets import Targets, read_categories
from spacy_torch.components.class_weights import (
    ClassWeights,
    balance_classes,
    check_class_weights,
)
from spacy_torch.components.losses import Loss
from spacy_torch.components.pool import read_pool
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.skipped import Skip, ignore
from spacy_torch.components.textcat_parts import check_labels, check_parts, check_thresholds
from spacy_torch.components.torch_pipe import TorchPipe

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
    the others. Labels that are true and not the component's are counted in `skipped`.

    Args:
        exclusive: exactly one label is true.
        class_weights: one weight per label, or "balanced": weights that make up for
            different counts, taken from the examples at initialization.
        threshold: the score from which a label counts as predicted in evaluation.
        thresholds: the same for single labels, before `threshold`.

    Raises:
        ValueError: loss or model are for the other kind of labels, a threshold is not
            between 0 and 1, or a class weight is not above 0.
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
        check_parts(name, model=model, loss=loss, exclusive=exclusive)
        check_thresholds(name, threshold, thresholds or {})
        check_class_weights(name, class_weights)
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

    @property
    def support_missing_values(self) -> bool:
        """Unknown labels are masked."""
        return True

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        labels = self.labels
        for doc, row in zip(docs, scores.tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each label; the one candidate is the document itself."""
        docs = list_docs(docs, name=self.name)
        scores = self.model.ops.to_numpy(self.predict(docs))
        return [
            Probabilities([doc], self.labels, row[None])
            for doc, row in zip(docs, scores, strict=True)
        ]

    def draw_probabilities(
        self, docs: Iterable[Doc], *, n_draws: int, drop: float = 0.2
    ) -> NDArray[numpy.float32]:
        """The probabilities by several versions of the model, as dropout makes them.

        Where they differ, the model has not learned what it says: for query strategies such
        as `spacy-torch.BALD.v1`.

        Args:
            n_draws: how many versions.
            drop: the rate of dropout, for modules that follow spaCy's.

        Returns:
            An array of shape (draw, document, label).

        Raises:
            TypeError: the model reads a tok2vec of Thinc, which has no draws.
        """
        docs = list_docs(docs, name=self.name)
        if self.logits_model.layers:
            raise TypeError(
                f"{self.name!r} reads a Thinc tok2vec, which cannot be drawn from: give its model "
                "an encoder of this package, or use another query strategy than BALD"
            )
        if not docs:
            return numpy.zeros((n_draws, 0, len(self.labels)), dtype="float32")
        set_dropout_rate(self.model, drop)
        draws = torch.stack(draw_tensors(self.logits_model, docs, n_draws=n_draws)).float()
        scores = draws.softmax(dim=2) if self.exclusive else draws.sigmoid()
        return scores.cpu().numpy()

    @property
    def learns_by_gradient(self) -> bool:
        """Whether a step changes anything; see `spacy-torch.FastTextCat.v1`."""
        return has_slow(self.logits_model)

    @override
    def learn_at_once(self, examples: Sequence[Example]) -> None:
        docs = [eg.predicted for eg in examples]
        # What the loss cannot learn is counted there, if there is one.
        skip = ignore if self.learns_by_gradient else self._skip
        answer(self.logits_model, docs, self.read_targets(examples, skip))

    def vectors(self, docs: Iterable[Doc]) -> Any:
        """What a model that learns at once tells documents apart by, shape (batch, width).

        Raises:
            TypeError: the model learns by gradient only.
        """
        return read_rows(self.logits_model, list(docs), name=self.name)

    def is_guessing(self) -> bool:
        """Whether the answers so far show no more than guessing, by a model that learns at once.

        What it is unsure of then says nothing of what it should be told.
        """
        return is_guessing(self.logits_model)

    def forget(self, docs: Iterable[Doc]) -> None:
        """Take back what was answered about documents, as if it had never been given.

        Raises:
            TypeError: the model learns by gradient only; see `spacy-torch.FastTextCat.v1`.
        """
        forget(self.logits_model, list(docs), name=self.name)

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Tensor) -> Tensor:
        targets = torch.from_numpy(self.read_targets(examples, self._skip)).to(logits.device)
        weights = self.cfg["class_weights"]
        if weights is not None:
            weights = torch.tensor([weights.get(label, 1.0) for label in self.labels])
            weights = weights.to(logits.device)
        return self.loss(logits, targets, weights, exclusive=self.exclusive)

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Mean squared error of the scores, as in spaCy's own `textcat`, and its gradient.

        Only part of spaCy's interface: `update` learns by `compute_loss`.
        """
        targets = self.read_targets(list(examples))
        scores = self.model.ops.to_numpy(scores)
        difference: Any = numpy.where(numpy.isnan(targets), 0.0, scores - targets)
        n_scores = max(difference.size, 1)
        gradient = self.model.ops.asarray2f(2 * difference / n_scores)
        return float((difference**2).sum() / n_scores), gradient

    def read_targets(self, examples: Sequence[Example], skip: Skip = ignore) -> Targets:
        """The truth of examples; see `read_categories`."""
        return read_categories(
            examples, self.labels, exclusive=self.exclusive, name=self.name, skip=skip
        )

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
        pool: Any = None,  # a Pool; spaCy resolves annotations among its own names
    ) -> None:
        """Take the labels from the examples, or as given, and build the module.

        Args:
            positive_label: of two exclusive labels, the one that scores are about.
            pool: texts without labels, for a model that learns from them
                (`spacy-torch.FastTextCat.v1`): a reader, as in [corpora], or an iterable of
                documents; by default the texts of the examples. Texts beyond the first
                20,000 are left out.

        Raises:
            ValueError: there are too few labels, `positive_label` is not one of two, or
                class weights or thresholds name something else than a label.
        """
        self._begin_initialize(get_examples, nlp)
        self._add_labels(labels, lambda: _find_labels(get_examples()))
        check_labels(
            self.name, self.labels, exclusive=self.exclusive, positive_label=positive_label
        )
        self._check_known("thresholds", self.cfg["thresholds"])
        self.cfg["positive_label"] = positive_label
        self.cfg["class_weights"] = self._weigh_classes(get_examples)
        sample = list(islice(get_examples(), 10))
        truth = numpy.nan_to_num(self.read_targets(sample))
        self.model.initialize(X=[eg.reference for eg in sample], Y=truth)
        learn_pool(self.logits_model, read_pool(pool, get_examples, nlp=nlp, name=self.name))
        self.note_labels()

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
        weights = balance_classes(targets, exclusive=self.exclusive)
        return dict(zip(self.labels, weights, strict=True))


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return list(dict.fromkeys(label for eg in examples for label in eg.reference.cats))
