"""Where the sentences are, of which each is parsed on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, SENT_START
from spacy.tokens import Doc

from spacy_torch.features.token_ids import first_rows

Rows = NDArray[numpy.int64]
Mask = NDArray[numpy.bool_]

# A parse takes time and memory quadratic in this.
LONGEST = 1000


@dataclass(frozen=True)
class Sentences:
    """The sentences of a batch of documents.

    Attributes:
        is_start: which tokens of the batch are the first of a sentence.
        rows: the words of one sentence after the other, whitespace left out.
        lengths: how many words each sentence has; one of nothing but whitespace is left out.
    """

    is_start: Mask
    rows: Rows
    lengths: Rows

    def starts(self) -> Rows:
        """The place in `rows` where each sentence begins."""
        return self.lengths.cumsum() - self.lengths

    def ids(self) -> Rows:
        """The number of the sentence that each of the `rows` is in."""
        return numpy.repeat(numpy.arange(len(self.lengths)), self.lengths)

    def only(self, is_kept: Mask) -> Sentences:
        """Some of the sentences; where others start is still known."""
        rows = self.rows[numpy.repeat(is_kept, self.lengths)]
        return Sentences(self.is_start, rows, self.lengths[is_kept])

    def attach_whitespace(self) -> tuple[Rows, Rows]:
        """The rows that are whitespace, and a head for each in its sentence.

        That is the word before it or, where there is none, the one after it. The first token of
        a sentence of nothing but whitespace heads the others and itself.
        """
        positions = numpy.arange(len(self.is_start))
        is_word = numpy.zeros(len(positions), dtype=bool)
        is_word[self.rows] = True
        firsts = numpy.flatnonzero(self.is_start)
        ends = numpy.append(firsts[1:], len(positions))
        before = numpy.maximum.accumulate(numpy.where(is_word, positions, -1))
        after = numpy.where(is_word, positions, len(positions))
        after = numpy.minimum.accumulate(after[::-1])[::-1]
        spaces = numpy.flatnonzero(~is_word)
        sentence = self.is_start.cumsum()[spaces] - 1
        first, before, after = firsts[sentence], before[spaces], after[spaces]
        heads = numpy.where(after < ends[sentence], after, first)
        return spaces, numpy.where(before >= first, before, heads)


def find_words(docs: Sequence[Doc]) -> Mask:
    """Which tokens of a batch are not whitespace."""
    parts = [doc.to_array([IS_SPACE]).reshape(-1) == 0 for doc in docs]
    return numpy.concatenate(parts) if parts else numpy.zeros(0, dtype=bool)


def group_sentences(is_start: Mask, is_word: Mask) -> Sentences:
    """The sentences of which the first tokens are known."""
    rows = numpy.flatnonzero(is_word)
    starts = numpy.flatnonzero(numpy.diff(is_start.cumsum()[rows], prepend=-1))
    return Sentences(is_start, rows, numpy.diff(starts, append=len(rows)))


def split_sentences(docs: Sequence[Doc], scores: NDArray[numpy.float32]) -> Sentences:
    """Decide on the sentences of a batch from the logit of each token as a first one.

    What a document says already of its sentences stays: a start is one, and where there
    must be none there is none. Stretches of more than `LONGEST` words are then cut where a
    start is most likely, unless the document forbids all of these places.
    """
    is_word = find_words(docs)
    known = _known_starts(docs)
    # Known also where the document leaves it open, as one from `Span.as_doc` does.
    known[first_rows(docs)] = 1
    is_start = numpy.where(known == 0, is_word & (scores > 0), known > 0)
    _take_whitespace_along(is_start, is_word, known)
    sentences = group_sentences(is_start, is_word)
    if not (sentences.lengths > LONGEST).any():
        return sentences
    may_start = numpy.where(known < 0, -numpy.inf, scores)[sentences.rows]
    for start, length in zip(sentences.starts(), sentences.lengths, strict=True):
        cuts = _cut(may_start[start : start + length])
        is_start[sentences.rows[start + cuts]] = True
    return group_sentences(is_start, is_word)


def _known_starts(docs: Sequence[Doc]) -> Rows:
    """1 where a document says that a sentence starts, -1 where none does, else 0."""
    parts = [doc.to_array([SENT_START]).reshape(-1) for doc in docs]
    return numpy.concatenate(parts).astype(numpy.int64) if parts else numpy.zeros(0, dtype="int64")


def _take_whitespace_along(is_start: Mask, is_word: Mask, known: Rows) -> None:
    """Take back the starts that only we would set, and right after a start on whitespace."""
    firsts = numpy.flatnonzero(is_start)
    if len(firsts):
        n_words = numpy.add.reduceat(is_word, firsts)
        after = firsts[1:][n_words[:-1] == 0]
        is_start[after[(known[after] == 0) & is_word[after]]] = False


def _cut(scores: NDArray[numpy.float32]) -> Rows:
    """Where to cut a stretch, each time in the middle half of what is still too long."""
    cuts: list[int] = []
    stretches = [(0, len(scores))]
    while stretches:
        start, end = stretches.pop()
        if end - start <= LONGEST:
            continue
        quarter = (end - start) // 4
        middle = scores[start + quarter : end - quarter]
        if not numpy.isfinite(middle).any():
            continue
        cut = start + quarter + int(middle.argmax())
        cuts.append(cut)
        stretches += [(start, cut), (cut, end)]
    return numpy.array(cuts, dtype=numpy.int64)
