"""What the reference of an example says of the tokens that the pipeline made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, ORTH, SENT_START
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.components.skipped import ADD_LABEL, Skip, ignore
from spacy_torch.features.token_ids import token_ids
from spacy_torch.nn.structured.partial import UNKNOWN as UNKNOWN  # of tags, and of all labels

Ids = NDArray[numpy.uint64]
Columns = NDArray[numpy.int64]

STRANGE = "tokens with other labels"
SPLIT = "misaligned tokens"
SPLIT_STEP = (
    "the reference splits the word into parts that do not agree, or does not have it; look at the "
    "tokenizer"
)


def read_aligned(example: Example, attrs: Sequence[int]) -> tuple[Ids, NDArray[numpy.bool_]]:
    """The gold attributes of each predicted token, and for which tokens there are any.

    A token that was split differently in the reference has the attributes on which all its
    parts agree, as spaCy's `Example.get_aligned` gives them, and none where they do not, or
    where the reference has nothing for it.

    Returns:
        Values of shape (token, attr), zeros where not known, and a mask of shape (token,).
    """
    gold = example.reference.to_array(list(attrs)).astype(numpy.uint64, copy=False)
    gold = gold.reshape(-1, len(attrs))
    if are_tokenized_alike(example):
        return gold, numpy.ones(len(gold), dtype=bool)
    alignment = example.alignment.x2y
    lengths = alignment.lengths.astype(numpy.int64)
    values = numpy.zeros((len(lengths), len(attrs)), dtype=numpy.uint64)
    known = lengths > 0
    if known.any():
        rows = gold[alignment.data]
        starts = (lengths.cumsum() - lengths)[known]
        lowest = numpy.minimum.reduceat(rows, starts)
        agree = (lowest == numpy.maximum.reduceat(rows, starts)).all(axis=1)
        known[known] = agree
        values[known] = lowest[agree]
    return values, known


def are_tokenized_alike(example: Example) -> bool:
    """Whether both documents of an example have the same tokens: a tenth of an alignment."""
    return numpy.array_equal(example.predicted.to_array([ORTH]), example.reference.to_array([ORTH]))


def find_columns(
    examples: Sequence[Example],
    attrs: Sequence[int],
    columns: Mapping[tuple[int, ...], int],
    skip: Skip = ignore,
) -> Columns:
    """The label of each token of a batch as a column, `UNKNOWN` where it is not known.

    Args:
        attrs: the attributes that make up a label.
        columns: the column of each label, by the ids of its attributes. What is not among
            them is unknown.
        skip: is told of labels that are none of these, and of words split differently.
    """
    if not examples:
        return numpy.zeros(0, dtype=numpy.int64)
    parts = [read_aligned(example, attrs) for example in examples]
    values = numpy.concatenate([part for part, _ in parts])
    known = numpy.concatenate([mask for _, mask in parts])
    distinct, inverse = numpy.unique(values, axis=0, return_inverse=True)
    found = [columns.get(tuple(row), UNKNOWN) for row in distinct.tolist()]
    inverse = inverse.reshape(-1)
    strange = (numpy.asarray(found, dtype=numpy.int64) == UNKNOWN) & distinct.any(axis=1)
    if strange.any():
        strings = examples[0].reference.vocab.strings
        label = [strings[value] for value in distinct[strange.argmax()].tolist() if value]
        skip(STRANGE, int(strange[inverse].sum()), value=" ".join(label), step=ADD_LABEL)
    if not known.all():
        docs = [example.predicted for example in examples]
        lost = ~known & (token_ids(docs, [IS_SPACE])[:, 0] == 0)
        _tell_split(docs, lost, skip=skip)
    labels = numpy.asarray(found, dtype=numpy.int64)[inverse]
    return numpy.where(known, labels, UNKNOWN)


def _tell_split(docs: Sequence[Doc], lost: NDArray[numpy.bool_], *, skip: Skip) -> None:
    if not lost.any():
        return
    row = int(lost.argmax())
    for doc in docs:
        if row < len(doc):
            skip(SPLIT, int(lost.sum()), value=doc[row].text, step=SPLIT_STEP)
            return
        row -= len(doc)


def read_sentence_starts(example: Example, skip: Skip = ignore) -> Columns:
    """Whether each predicted token starts a sentence: 1 yes, -1 no, 0 not known.

    Of a token of the reference that was split, only the first part starts what it starts. A
    token inside of which a sentence starts is not known, unless it starts one itself. In a
    reference without sentences nothing is known, though spaCy marks its first token.
    """
    reference = example.reference
    if not reference.has_annotation("SENT_START"):
        return numpy.zeros(len(example.predicted), dtype=numpy.int64)
    gold = reference.to_array([SENT_START]).astype(numpy.uint64, copy=False).view(numpy.int64)
    if are_tokenized_alike(example):
        return gold
    alignment = example.alignment.x2y
    lengths = alignment.lengths.astype(numpy.int64)
    starts = numpy.zeros(len(lengths), dtype=numpy.int64)
    known = lengths > 0
    if known.any():
        parts = alignment.data
        ends = lengths.cumsum()[known]
        begins = ends - lengths[known]
        found = gold[parts[begins]]
        is_continued = parts[begins[1:]] == parts[ends[:-1] - 1]
        found[1:][is_continued] = -1
        inside = gold[parts]
        inside[begins] = -1
        highest = numpy.maximum.reduceat(inside, begins)
        lost = numpy.zeros(len(lengths), dtype=bool)
        lost[known] = (found != 1) & (highest == 1)
        _tell_split([example.predicted], lost, skip=skip)
        found[(found == -1) & (highest > -1)] = 0
        starts[known] = found
    return starts
