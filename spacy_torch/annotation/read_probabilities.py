"""How sure any classifier is, ours or a stock one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc


class Scores(NamedTuple):
    """The labels of a stock classifier and its scores, shape (1, label)."""

    labels: tuple[str, ...]
    values: NDArray[np.float32]


def read_probabilities(component: Any, docs: Sequence[Doc]) -> Sequence[Any]:
    """For each document its `labels` and `values`, a row for each candidate.

    What the component's own `probabilities` says; of a stock text classifier, which has
    none, its scores.

    Raises:
        TypeError: it is another stock component.
    """
    own = getattr(component, "probabilities", None)
    if own is not None:
        return own(docs)
    labels = tuple(component.labels)
    scores = component.model.ops.to_numpy(component.predict(list(docs))) if docs else []
    if any(np.shape(row) != (len(labels),) for row in scores):
        raise TypeError(
            f"{component.name!r} is a {type(component).__name__}, which cannot say how probable "
            "its labels are: use a component of this package, such as torch_textcat"
        )
    return [Scores(labels, np.asarray(row, dtype=np.float32)[None]) for row in scores]
