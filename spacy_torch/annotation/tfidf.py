"""TF-IDF and logistic regression: what a data scientist would try first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.training import Example

from spacy_torch.annotation.measures import Floats


def has_scikit_learn() -> bool:
    """Whether scikit-learn can be imported."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return False
    return True


class TfidfRegression:
    """Fitted anew each time on the words and pairs of words of the answered texts alone.

    Args:
        labels: the columns of what `predict` gives.
        exclusive: exactly one applies; else there is a regression for each.

    Raises:
        ImportError: scikit-learn is missing.
    """

    def __init__(self, labels: Sequence[str], *, exclusive: bool) -> None:
        if not has_scikit_learn():
            raise ImportError(
                "this baseline needs scikit-learn: pip install 'spacy-torch[simulate]'"
            )
        self.labels = list(labels)
        self.exclusive = exclusive

    def fit_predict(self, examples: Sequence[Example], texts: Sequence[str]) -> Floats:
        """The probability of each label for texts, after learning from examples.

        Where the examples have only one side of a question, the share of it is the answer.
        """
        if not examples:
            chance = 1 / len(self.labels) if self.exclusive else 0.5
            return np.full((len(texts), len(self.labels)), chance)
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
        rows: Any = vectorizer.fit_transform([eg.reference.text for eg in examples])
        wanted: Any = vectorizer.transform(list(texts))
        cats = [eg.reference.cats for eg in examples]
        if self.exclusive:
            true = [max(one, key=one.__getitem__) if 1.0 in one.values() else None for one in cats]
            known = [place for place, label in enumerate(true) if label is not None]
            columns = [self.labels.index(str(true[place])) for place in known]
            return _regress(rows[known], columns, wanted, len(self.labels))
        scores = np.zeros((len(texts), len(self.labels)))
        for column, label in enumerate(self.labels):
            known = [place for place, one in enumerate(cats) if label in one]
            truth = [int(cats[place][label] >= 0.5) for place in known]
            scores[:, column] = _regress(rows[known], truth, wanted, 2)[:, 1]
        return scores


def _regress(rows: Any, columns: list[int], wanted: Any, n_columns: int) -> Floats:
    from sklearn.linear_model import LogisticRegression

    counts = np.bincount(columns, minlength=n_columns)
    if (counts > 0).sum() < 2:
        share = (counts + 1) / (counts.sum() + n_columns)
        return np.tile(share, (wanted.shape[0], 1))
    model = LogisticRegression(C=10.0, max_iter=1000).fit(rows, columns)
    scores = np.zeros((wanted.shape[0], n_columns))
    scores[:, model.classes_] = model.predict_proba(wanted)
    return scores
