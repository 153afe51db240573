"""`spacy-torch.SemEval2010Task8.v1`: sentences with two marked nominals and their relation."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.features.gold_spans import give_spans
from spacy_torch.features.relations import register_relations, set_relations
from spacy_torch.training.lines import read_lines

logger = logging.getLogger(__name__)

OTHER = "Other"
RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
# Each relation in both directions, and OTHER, which has none: 19 labels.
LABELS = tuple(f"{relation}({ends})" for relation in RELATIONS for ends in ("e1,e2", "e2,e1"))
LABELS += (OTHER,)

_SENTENCE = re.compile(r'(\d+)\t"(.*)"')
_MARKED = re.compile(r"(.*?)<e1>(.+?)</e1>(.*?)<e2>(.+?)</e2>(.*)")


class MarkedSentence(NamedTuple):
    """A sentence of the data set.

    Attributes:
        number: its number there.
        text: without the marks.
        e1: the characters of the first nominal, start and end.
        e2: those of the second.
        label: one of `LABELS`.
    """

    number: int
    text: str
    e1: tuple[int, int]
    e2: tuple[int, int]
    label: str


class SemEval2010Task8Reader:
    """Gives the examples of one file; what `[corpora.train]` resolves to.

    The two nominals are entities, "e1" and "e2", of the reference and of the Doc that the
    pipeline is given: only the relation is left to find. A nominal that is only a part of a
    token stands for the whole token. Where both are parts of one, the sentence is skipped.

    Attributes:
        widened: how many nominals of the last pass stand for more than themselves.
        skipped: how many sentences were skipped in it.
    """

    def __init__(self, path: Path, *, limit: int = 0) -> None:
        if limit < 0:
            raise ValueError(f"limit must be >= 0 (0 reads every sentence), got {limit}")
        register_relations()
        self.path = path
        self.limit = limit
        self.widened = self.skipped = 0
        self._has_reported = False

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield an example per sentence, in the order of the file."""
        self.widened = self.skipped = 0
        for sentence in read_marked_sentences(self.path)[: self.limit or None]:
            reference = self._make_doc(nlp, sentence)
            if reference is None:
                self.skipped += 1
                continue
            example = Example(nlp.make_doc(sentence.text), reference)
            give_spans(example)
            yield example
        if (self.widened or self.skipped) and not self._has_reported:
            self._has_reported = True
            logger.info(
                "%s: %d nominals were parts of tokens and stand for the whole token; %d "
                "sentences were skipped, as both nominals are parts of one token",
                self.path,
                self.widened,
                self.skipped,
            )

    def _make_doc(self, nlp: Language, sentence: MarkedSentence) -> Doc | None:
        doc = nlp.make_doc(sentence.text)
        spans = [
            doc.char_span(*place, label=label, alignment_mode="expand")
            for label, place in (("e1", sentence.e1), ("e2", sentence.e2))
        ]
        e1, e2 = spans
        if e1 is None or e2 is None or e1.end > e2.start:
            return None
        self.widened += (e1.start_char, e1.end_char) != sentence.e1
        self.widened += (e2.start_char, e2.end_char) != sentence.e2
        doc.ents = [e1, e2]
        set_relations(doc, [(e1, e2, sentence.label)])
        return doc


def build_semeval_relations(path: str | Path, limit: int = 0) -> SemEval2010Task8Reader:
    """The sentences of SemEval-2010 Task 8, with the relation between two given nominals.

    Args:
        path: `TRAIN_FILE.TXT` or `TEST_FILE_FULL.TXT`, as released.
        limit: read only so many sentences; 0 reads all.
    """
    return SemEval2010Task8Reader(Path(path), limit=limit)  # a config hands over a string


def read_marked_sentences(path: str | Path) -> list[MarkedSentence]:
    """Read a file of the data set: blocks of a sentence, its label and a comment.

    Raises:
        ValueError: a block cannot be read; the message names the file and the line.
    """
    path = Path(path)
    sentences: list[MarkedSentence] = []
    waiting: tuple[int, str] | None = None
    for number, line in read_lines(path):
        where, content = f"{path}, line {number}", line.strip()
        if not content:
            if waiting is not None:
                raise ValueError(f"{where}: expected the label of the sentence before, got nothing")
        elif waiting is not None:
            sentences.append(_read_block(path, waiting, content, where=where))
            waiting = None
        elif not content.startswith("Comment"):
            waiting = (number, content)
    if waiting is not None:
        raise ValueError(f"{path}, line {waiting[0]}: no label follows: the file is cut off")
    if not sentences:
        raise ValueError(f"{path} has no sentences: expected those of SemEval-2010 Task 8")
    return sentences


def _read_block(path: Path, sentence: tuple[int, str], label: str, *, where: str) -> MarkedSentence:
    line, content = sentence
    quoted = _SENTENCE.fullmatch(content)
    marked = _MARKED.fullmatch(quoted[2]) if quoted else None
    if quoted is None or marked is None:
        raise ValueError(
            f"{path}, line {line}: expected a number, a tab and a sentence in quotes with one "
            f"<e1>...</e1> and then one <e2>...</e2>, got {content!r}"
        )
    if label not in LABELS:
        raise ValueError(f"{where}: expected one of the labels {', '.join(LABELS)}, got {label!r}")
    before, e1, between, e2, after = marked.groups()
    starts = len(before), len(before) + len(e1) + len(between)
    return MarkedSentence(
        int(quoted[1]),
        before + e1 + between + e2 + after,
        (starts[0], starts[0] + len(e1)),
        (starts[1], starts[1] + len(e2)),
        label,
    )
