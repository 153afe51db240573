"""The truth of a classifier's examples, read from their `cats` and checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import numpy
from numpy.typing import NDArray
from spacy.training import Example

logger = logging.getLogger(__name__)

Targets = NDArray[numpy.float32]
NUMBERS = (int, float, numpy.number, numpy.bool_)


class CategoryTargets:
    """Reads which labels are true, which are false and which are unknown.

    Args:
        exclusive: at most one label of an example is true.
    """

    def __init__(self, *, exclusive: bool) -> None:
        self.exclusive = exclusive
        self._unknown_labels: set[str] = set()

    def read(self, examples: Sequence[Example], labels: tuple[str, ...], *, name: str) -> Targets:
        """The truth as an array of shape (batch, label): 1, 0, and NaN where unknown.

        Errors call the component by its `name`.

        Raises:
            ValueError: a value is not 0 or 1, or exclusive labels have two true ones.
        """
        targets = _read_complete(examples, labels)
        if targets is None:
            targets = self._read_partial(examples, labels, name)
        valid = numpy.isnan(targets) | (targets == 0) | (targets == 1)
        wrong = ~valid.all(axis=1)
        too_many = (targets == 1).sum(axis=1) > 1 if self.exclusive else numpy.zeros_like(wrong)
        for row in numpy.flatnonzero(wrong | too_many)[:1]:
            raise _error(
                examples[row],
                name,
                "each value must be 1.0 (true) or 0.0 (false)"
                if wrong[row]
                else "exactly one label may be 1.0; use torch_textcat_multilabel for several",
            )
        return targets

    def _read_partial(
        self, examples: Sequence[Example], labels: tuple[str, ...], name: str
    ) -> Targets:
        columns = {label: column for column, label in enumerate(labels)}
        targets = numpy.full((len(examples), len(labels)), numpy.nan, dtype="float32")
        for row, example in zip(targets, examples, strict=True):
            for label, value in example.reference.cats.items():
                if label not in columns:
                    if value:
                        self._warn_unknown(label, labels, name)
                elif isinstance(value, NUMBERS):
                    row[columns[label]] = value
                else:
                    raise _error(
                        example,
                        name,
                        f"{label!r} is a {type(value).__name__}: each value must be the number "
                        "1.0 (true) or 0.0 (false), and what is not known must be left out",
                    )
        return targets

    def _warn_unknown(self, label: str, labels: tuple[str, ...], name: str) -> None:
        if label not in self._unknown_labels:
            self._unknown_labels.add(label)
            logger.warning(
                "%r does not know the label %r of a training example and learns nothing from "
                "it: call add_label(%r) first. The labels are %s.",
                name,
                label,
                label,
                list(labels),
            )


def _read_complete(examples: Sequence[Example], labels: tuple[str, ...]) -> Targets | None:
    """The usual case, and the fast one: every example has every label, in their order.

    None where it is not so, or a value is not a number.
    """
    cats = [example.reference.cats for example in examples]
    if not all(tuple(row) == labels for row in cats):
        return None
    with suppress(ValueError):  # values that are sequences
        flat = numpy.array(list(chain.from_iterable(row.values() for row in cats)))
        if flat.dtype.kind in "fiub":  # floating-point numbers, integers, bools
            return flat.astype("float32").reshape(len(cats), len(labels))
    return None


def _error(example: Example, name: str, rule: str) -> ValueError:
    # Labels that are plainly false would only hide the others.
    cats = {label: value for label, value in example.reference.cats.items() if value != 0}
    return ValueError(
        f"{name!r}: the example {example.reference.text[:60]!r} has the categories {cats}, but "
        f"{rule}"
    )
