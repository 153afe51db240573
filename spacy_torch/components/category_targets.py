"""The truth of a classifier's examples, read from their `cats` and checked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import numpy
from numpy.typing import NDArray
from spacy.training import Example

from spacy_torch.components.skipped import ADD_LABEL, Skip, ignore

Targets = NDArray[numpy.float32]
NUMBERS = (int, float, numpy.number, numpy.bool_)
STRANGE = "categories with other labels"


def read_categories(
    examples: Sequence[Example],
    labels: tuple[str, ...],
    *,
    exclusive: bool,
    name: str,
    skip: Skip = ignore,
) -> Targets:
    """The truth as an array of shape (batch, label): 1, 0, and NaN where unknown.

    Args:
        exclusive: at most one label of an example is true.
        name: the component's, for errors.
        skip: is told of true labels that are not the component's.

    Raises:
        ValueError: a value is not 0 or 1, or exclusive labels have two true ones.
    """
    targets = _read_complete(examples, labels)
    if targets is None:
        targets = _read_partial(examples, labels, name=name, skip=skip)
    valid = numpy.isnan(targets) | (targets == 0) | (targets == 1)
    wrong = ~valid.all(axis=1)
    too_many = (targets == 1).sum(axis=1) > 1 if exclusive else numpy.zeros_like(wrong)
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
    examples: Sequence[Example], labels: tuple[str, ...], *, name: str, skip: Skip
) -> Targets:
    columns = {label: column for column, label in enumerate(labels)}
    targets = numpy.full((len(examples), len(labels)), numpy.nan, dtype="float32")
    for row, example in zip(targets, examples, strict=True):
        for label, value in example.reference.cats.items():
            if label not in columns:
                if value:
                    skip(STRANGE, 1, value=label, step=ADD_LABEL)
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
