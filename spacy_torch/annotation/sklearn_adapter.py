"""A pipeline as an estimator of scikit-learn's kind, for the tools that drive such estimators."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch

from spacy_torch.annotation.classifier_pipeline import (
    EXCLUSIVE,
    build_pipeline,
    find_classifier,
    initialize_classifier,
    make_example,
)
from spacy_torch.annotation.learn_rate import step_up
from spacy_torch.annotation.read_probabilities import read_probabilities
from spacy_torch.annotation.upstream import Upstream


class PipelineClassifier:
    """Trains the classifier of a pipeline on texts and labels, as scikit-learn trains its own.

    `fit` begins anew with a pipeline built from the config; `partial_fit` goes on. Labels
    are of any type that numpy can sort. Nothing here needs scikit-learn, but `clone`,
    cross-validation and tools such as modAL, small-text and cleanlab work with it.

    Args:
        config: of a pipeline with a `torch_textcat`, or a stock `textcat`: as
            `Config().from_disk` or `nlp.config` gives it. Never changed.
        component: its name; None for the first classifier with exclusive labels.
        pool: texts without labels, for a model that learns from them
            (`spacy-torch.FastTextCat.v1`); by default those given to the first `fit`.
        epochs: how often the examples are gone through by gradient, in `fit` and in each
            `partial_fit`.
        minibatch: how many examples a step takes.
        drop: the rate of dropout.
        seed: of weights and order.

    Attributes:
        classes_: the labels, sorted: the columns of `predict_proba`.
        nlp_: the pipeline that was trained.
    """

    _estimator_type = "classifier"

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        component: str | None = None,
        pool: Sequence[str] | None = None,
        epochs: int = 10,
        minibatch: int = 16,
        drop: float = 0.1,
        seed: int = 0,
    ) -> None:
        # Kept as they came: `sklearn.base.clone` compares what it passed with what it gets.
        self.config = config
        self.component = component
        self.pool = pool
        self.epochs = epochs
        self.minibatch = minibatch
        self.drop = drop
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self, **params: Any) -> PipelineClassifier:
        """Change arguments of the constructor; counts from the next `fit` on.

        Raises:
            ValueError: there is no such argument.
        """
        known = _parameters(type(self))
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}, only {known}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "nlp_")

    def fit(
        self, X: Iterable[Any], y: Iterable[Any], sample_weight: Any = None
    ) -> PipelineClassifier:
        """Train a new pipeline.

        Args:
            X: texts, or Docs, or an array of them with one column.
            y: the label of each.
            sample_weight: must be None: the components know no weights of examples.

        Raises:
            ValueError: there are fewer than two labels, or as many texts as labels are not
                given.
        """
        X, y = _list_pairs(X, y)
        self._begin(X, np.unique(y))
        return self._learn(X, y, sample_weight)

    def partial_fit(
        self,
        X: Iterable[Any],
        y: Iterable[Any],
        classes: Iterable[Any] | None = None,
        sample_weight: Any = None,
    ) -> PipelineClassifier:
        """Go on training the pipeline, on these examples alone.

        Args:
            X, y, sample_weight: as in `fit`.
            classes: all labels that will ever come; needed at the first call, unless `y` has
                them all.

        Raises:
            ValueError: as in `fit`, or a label is new.
        """
        X, y = _list_pairs(X, y)
        if not hasattr(self, "nlp_"):
            self._begin(X, np.unique(y if classes is None else np.asarray(list(classes))))
        return self._learn(X, y, sample_weight)

    def predict_proba(self, X: Iterable[Any]) -> NDArray[np.float64]:
        """The probability of each label, shape (text, label), in the order of `classes_`."""
        nlp = self._get_pipeline()
        docs = [_make_doc(nlp, item) for item in list_inputs(X)]
        if not docs:
            return np.zeros((0, len(self.classes_)))
        name = self._find(nlp)
        found = read_probabilities(nlp.get_pipe(name), Upstream(nlp, name).annotate(docs))
        values = np.array([one.values[0] for one in found], dtype=np.float64)
        return values / values.sum(axis=1, keepdims=True)

    def predict(self, X: Iterable[Any]) -> NDArray[Any]:
        """The most probable label of each text."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Iterable[Any], y: Iterable[Any], sample_weight: Any = None) -> float:
        """The share of texts whose most probable label is the given one."""
        right = self.predict(X) == _list_labels(y)
        return float(np.average(right, weights=sample_weight))

    def _begin(self, X: list[Any], classes: NDArray[Any]) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"a classifier needs examples of at least 2 labels, got {classes.tolist()}: give "
                "more examples, or all labels to partial_fit(classes=...)"
            )
        nlp = build_pipeline(self.config, seed=self.seed)
        name = self._find(nlp)
        docs = [_make_doc(nlp, item) for item in X]
        pool = docs if self.pool is None else [_make_doc(nlp, item) for item in self.pool]
        self._labels = [str(label) for label in classes]
        initialize_classifier(nlp, name, labels=self._labels, docs=docs, pool=pool)
        self._optimizer = nlp.create_optimizer()
        self.classes_ = classes
        self.nlp_ = nlp
        self._random = np.random.default_rng(self.seed)

    def _learn(self, X: list[Any], y: NDArray[Any], sample_weight: Any) -> PipelineClassifier:
        if sample_weight is not None:
            raise ValueError(
                "sample_weight must be None, as the components know no weights of examples: leave "
                "examples out, or repeat them"
            )
        unknown = sorted(set(y.tolist()) - set(self.classes_.tolist()))
        if unknown:
            raise ValueError(
                f"got the labels {unknown}, but was begun with {self.classes_.tolist()}: name all "
                "labels in the first partial_fit(classes=...)"
            )
        nlp = self.nlp_
        name = self._find(nlp)
        examples = [
            make_example(_make_doc(nlp, item), self._labels, [str(label)])
            for item, label in zip(X, y, strict=True)
        ]
        upstream = Upstream(nlp, name)
        learn_at_once = getattr(nlp.get_pipe(name), "learn_at_once", None)
        if learn_at_once is not None and examples:
            learn_at_once(examples)
        for _ in range(self.epochs):
            order = self._random.permutation(len(examples))
            for batch in minibatch([examples[place] for place in order], self.minibatch):
                upstream.update(batch, sgd=self._optimizer, drop=self.drop)
                step_up(self._optimizer)
        return self

    def _get_pipeline(self) -> Language:
        if not hasattr(self, "nlp_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: call fit() first")
        return self.nlp_

    def _find(self, nlp: Language) -> str:
        """The name of the component that is trained."""
        return find_classifier(nlp, self.component, factories=EXCLUSIVE)


def list_inputs(X: Iterable[Any]) -> list[Any]:
    """The items of a list, or of an array with one column at most."""
    if isinstance(X, (str, Doc)):
        raise ValueError(f"expected several texts, got one: {X!r:.60}; put it into a list")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) > 1:
        if len(shape) > 2 or shape[1] != 1:
            raise ValueError(f"expected one text per row, got an array of the shape {shape}")
        X = np.asarray(X).ravel()
    return list(X)


def _list_pairs(X: Iterable[Any], y: Iterable[Any]) -> tuple[list[Any], NDArray[Any]]:
    X, y = list_inputs(X), _list_labels(y)
    if len(X) != len(y):
        raise ValueError(f"got {len(X)} texts and {len(y)} labels: there must be one for each")
    return X, y


def _list_labels(y: Iterable[Any]) -> NDArray[Any]:
    return np.asarray(y if hasattr(y, "shape") else list(y)).ravel()


def _parameters(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def _make_doc(nlp: Language, item: Any) -> Doc:
    if isinstance(item, Doc):
        return item
    if not isinstance(item, str):
        raise ValueError(f"expected a text or a Doc, got a {type(item).__name__}: {item!r:.60}")
    return nlp.make_doc(str(item))  # a string of numpy is a str of another class
