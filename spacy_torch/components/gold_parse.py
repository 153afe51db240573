"""What the references of a batch say of heads, labels and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from spacy.attrs import DEP, HEAD, IS_SPACE, SENT_START
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.components.gold_tokens import UNKNOWN, are_tokenized_alike
from spacy_torch.components.sentences import (
    LONGEST,
    Rows,
    Sentences,
    find_words,
    group_sentences,
)
from spacy_torch.components.skipped import Skip, ignore
from spacy_torch.features.token_ids import first_rows

BROKEN = "sentences that are no tree"
BROKEN_STEP = (
    "their heads are not one tree with one root; correct them, or let a sentence start at each root"
)
LONG = "heads of long sentences"
LONG_STEP = (
    f"a sentence has more than {LONGEST} words, which would take time and memory quadratic in "
    "them; mark the sentences in it"
)
STRANGE = "arcs with other labels"
STRANGE_STEP = (
    "the component was not initialized with the label, and learns the head alone; use add_label() "
    "to have it learned"
)
SPLIT = "arcs between misaligned tokens"
SPLIT_STEP = (
    "a word of the pipeline or its head is not one token in the reference; look at the tokenizer"
)


@dataclass(frozen=True)
class GoldParse:
    """The truth about the predicted tokens of a batch, `UNKNOWN` where there is none.

    Attributes:
        heads: the row of each token's head, its own for a root.
        labels: the column of each arc's label, unknown also where the head is.
        starts: 1 for the first token of a sentence, 0 for another.
        sentences: those in which any head is known.
    """

    heads: Rows
    labels: Rows
    starts: Rows
    sentences: Sentences


def read_parses(
    examples: Sequence[Example], columns: Mapping[int, int], skip: Skip = ignore
) -> GoldParse:
    """Read the gold parses of a batch, non-projective ones as they are.

    Tokens that the reference splits differently have no gold head or label, nor have those
    below them a head. Whitespace is no part of a parse.

    Args:
        columns: the column of each label, by its id. Others are unknown.
        skip: is told of gold that cannot be learned.
    """
    docs = [example.predicted for example in examples]
    parts = [_read_aligned(example, skip) for example in examples]
    offset = 0
    for part in parts:
        part[:, 0] += numpy.where(part[:, 0] == UNKNOWN, 0, offset)
        offset += len(part)
    gold = numpy.concatenate(parts) if parts else numpy.zeros((0, 4), dtype=numpy.int64)
    heads, deps, is_start, starts = gold.T.copy()
    is_word = find_words(docs)
    is_start[first_rows(docs)] = 1
    sentences = group_sentences(is_start == 1, is_word)
    # An unknown head is the last row, which is then asked whether it is a word.
    heads[~is_word | ~numpy.append(is_word, False)[heads]] = UNKNOWN
    broken = _find_broken(heads, sentences)
    taught = numpy.bincount(sentences.ids(), heads[sentences.rows] != UNKNOWN) > 0
    long = taught & ~broken & (sentences.lengths > LONGEST)
    _tell(docs, sentences, broken, reason=BROKEN, step=BROKEN_STEP, skip=skip)
    _tell(docs, sentences, long, reason=LONG, step=LONG_STEP, skip=skip)
    heads[sentences.rows[numpy.repeat(broken | long, sentences.lengths)]] = UNKNOWN
    starts[sentences.rows[numpy.repeat(broken, sentences.lengths)]] = UNKNOWN
    starts[~is_word] = UNKNOWN
    labels = _find_columns(deps, columns)
    strange = deps[(heads != UNKNOWN) & (labels == UNKNOWN)]
    if len(strange):
        value = examples[0].reference.vocab.strings[int(strange[:1].view(numpy.uint64)[0])]
        skip(STRANGE, len(strange), value=value, step=STRANGE_STEP)
    labels[heads == UNKNOWN] = UNKNOWN
    # Scores of all pairs of words are computed in these: in a long document without gold, which
    # is one sentence, that would be many.
    return GoldParse(heads, labels, starts, sentences.only(taught & ~broken & ~long))


def _tell(
    docs: Sequence[Doc],
    sentences: Sentences,
    chosen: NDArray[numpy.bool_],
    *,
    reason: str,
    step: str,
    skip: Skip,
) -> None:
    """Tell of sentences that are left out, with the first few words of one."""
    if not chosen.any():
        return
    row = int(sentences.rows[sentences.starts()[chosen.argmax()]])
    for doc in docs:
        if row < len(doc):
            skip(reason, int(chosen.sum()), value=doc[row : row + 10].text, step=step)
            return
        row -= len(doc)


def _read_aligned(example: Example, skip: Skip) -> NDArray[numpy.int64]:
    """Columns: head in the document, id of the label, whether a sentence starts, its target.

    The last is unknown where the third may be wrong: spaCy finds sentences by their roots,
    so in a document of which some heads are known it does not know of all sentences.
    """
    reference = example.reference
    read = reference.to_array([HEAD, DEP, SENT_START, IS_SPACE]).astype(numpy.int64)
    offsets, deps, starts, is_space = read.reshape(-1, 4).T
    positions = numpy.arange(len(deps))
    heads = numpy.where(deps == 0, UNKNOWN, positions + offsets)
    has_dep = deps[is_space == 0] != 0
    is_partial = has_dep.any() and not has_dep.all()
    # The first token of every Doc says that it starts a sentence, also if nothing else is said.
    is_partial |= not has_dep.any() and not starts[1:].any()
    targets = numpy.where((starts == 0) | is_partial, UNKNOWN, starts > 0)
    gold = numpy.stack([heads, deps, starts > 0, targets], axis=1)
    if are_tokenized_alike(example):
        return gold
    found = _align(example, gold)
    if has_dep.any():
        lost = find_words([example.predicted]) & (found[:, 0] == UNKNOWN)
        lost &= _touch(example, gold[:, 0] != UNKNOWN)
        if lost.any():
            word = example.predicted[int(lost.argmax())].text
            skip(SPLIT, int(lost.sum()), value=word, step=SPLIT_STEP)
    return found


def _align(example: Example, gold: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """The same for the predicted tokens; heads only between tokens that are one in both."""
    to_gold, to_predicted = example.alignment.x2y, example.alignment.y2x
    lengths = to_gold.lengths.astype(numpy.int64)
    found = numpy.full((len(lengths), 4), [UNKNOWN, 0, 0, UNKNOWN], dtype=numpy.int64)
    covered = numpy.flatnonzero(lengths)
    if not len(covered):
        return found
    first = to_gold.data[(lengths.cumsum() - lengths)[covered]].astype(numpy.int64)
    found[covered, 3] = numpy.minimum(gold[first, 3], 0)
    starts = numpy.flatnonzero((gold[:, 2] == 1) & (to_predicted.lengths > 0))
    ends = to_predicted.lengths.astype(numpy.int64).cumsum()
    found[to_predicted.data[(ends - to_predicted.lengths)[starts]], 2] = 1
    found[(found[:, 2] == 1) & (found[:, 3] == 0), 3] = 1
    same = (lengths[covered] == 1) & (to_predicted.lengths[first] == 1)
    predicted_of = numpy.full(len(gold) + 1, UNKNOWN, dtype=numpy.int64)  # last: of UNKNOWN
    predicted_of[first[same]] = covered[same]
    found[covered[same], 0] = predicted_of[gold[first[same], 0]]
    found[covered[same], 1] = gold[first[same], 1]
    return found


def _touch(example: Example, is_marked: NDArray[numpy.bool_]) -> NDArray[numpy.bool_]:
    """Which predicted tokens share text with any of the marked tokens of the reference."""
    to_predicted = example.alignment.y2x
    touched = numpy.zeros(len(example.predicted), dtype=bool)
    touched[to_predicted.data[numpy.repeat(is_marked, to_predicted.lengths)]] = True
    return touched


def _find_broken(heads: Rows, sentences: Sentences) -> NDArray[numpy.bool_]:
    """Which sentences have two roots, heads outside, or tokens below each other in a circle."""
    positions = numpy.arange(len(heads))
    above = numpy.where(heads == UNKNOWN, positions, heads)
    sentence_of = numpy.full(len(heads), -1, dtype=numpy.int64)
    sentence_of[sentences.rows] = sentences.ids()
    is_bad = sentence_of[above] != sentence_of
    above[is_bad] = positions[is_bad]
    is_top = above == positions
    for _ in range(max(int(sentences.lengths.max(initial=0)) - 1, 0).bit_length()):
        above = above[above]
    is_bad |= ~is_top[above]
    n_sentences = len(sentences.lengths)
    n_bad = numpy.bincount(sentence_of[is_bad], minlength=n_sentences)
    n_roots = numpy.bincount(sentence_of[heads == positions], minlength=n_sentences)
    return (n_roots > 1) | (n_bad > 0)


def _find_columns(deps: Rows, columns: Mapping[int, int]) -> Rows:
    distinct, inverse = numpy.unique(deps.view(numpy.uint64), return_inverse=True)
    found = [columns.get(dep, UNKNOWN) for dep in distinct.tolist()]
    return numpy.asarray(found, dtype=numpy.int64)[inverse.reshape(-1)]
