"""Two pipelines on the same texts: where they differ, and how fast each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import minibatch

# Scores of whole texts and of spans are called equal up to this.
TOLERANCE = 1e-4

# Beside the examples that spaCy has of a language: what tokenizers and models stumble over.
_ODD_TEXTS = (
    "",
    " ",
    "Ok",
    "\n\nA line, and  two spaces.\t",
    "https://example.org/?q=1 costs $3.50 (or 3,50 €) until 24/12/2024!!! :-)",
    "¿Qué? 東京 — Zürich, naïve co-operation; O'Neill's 2nd e-mail…",
    "x" * 300,
)


@dataclass(frozen=True)
class Difference:
    """One thing that two pipelines say differently.

    Attributes:
        text: the number of the text in the sample.
        what: "tag", "head", "ents", "cats", ...
        token: the number of the token; None for what belongs to the text as a whole.
        before: what the first pipeline says.
        after: what the second one says.
    """

    text: int
    what: str
    token: int | None
    before: Any
    after: Any


def sample_texts(lang: str) -> list[str]:
    """The example sentences that spaCy has of a language, and some odd ones."""
    try:
        examples = list(import_module(f"spacy.lang.{lang}.examples").sentences)
    except ModuleNotFoundError:
        examples = []
    return [*examples, " ".join(examples), *_ODD_TEXTS]


def read_sample(path: Path, nlp: Language) -> list[str | Doc]:
    """The texts of a file: one per line, `{"text": ...}` per line (.jsonl), or .spacy.

    Raises:
        ValueError: the file has no texts, or a line of .jsonl has none.
    """
    texts: list[str | Doc]
    if path.suffix == ".spacy":
        texts = list(DocBin().from_disk(path).get_docs(nlp.vocab))
    elif path.suffix == ".jsonl":
        rows: list[Any] = list(srsly.read_jsonl(path))
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise ValueError(f'{path}: row {number} has no "text", got {row!r}')
        texts = [row["text"] for row in rows]
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        texts = [line for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"{path}: there are no texts in it")
    return texts


def make_docs(nlp: Language, texts: Iterable[str | Doc]) -> list[Doc]:
    """New documents without annotations; a `Doc` keeps its tokens."""
    return [
        nlp.make_doc(text)
        if isinstance(text, str)
        else Doc(
            nlp.vocab, words=[t.text for t in text], spaces=[bool(t.whitespace_) for t in text]
        )
        for text in texts
    ]


def find_differences(
    before: Language,
    after: Language,
    texts: Sequence[str | Doc],
    *,
    tolerance: float = TOLERANCE,
) -> list[Difference]:
    """Everything that the second pipeline annotates differently.

    Tags, lemmas, heads, entities and the like must be equal, scores up to `tolerance`.
    """
    pairs = zip(
        before.pipe(make_docs(before, texts)), after.pipe(make_docs(after, texts)), strict=True
    )
    return [
        difference
        for number, (left, right) in enumerate(pairs)
        for difference in _compare_docs(number, left, right, tolerance=tolerance)
    ]


def words_per_second(
    before: Callable[[list[Doc]], object],
    after: Callable[[list[Doc]], object],
    make: Callable[[], list[Doc]],
    *,
    batch_size: int,
    turns: int,
) -> tuple[float, float]:
    """The speed of two programs that take turns, each at its best and with its caches filled.

    Args:
        before: called with each batch of documents.
        after: likewise.
        make: makes the documents anew for each turn.
        batch_size: documents in a batch.
        turns: how often each is timed, after a turn that is not.
    """
    best = [float("inf"), float("inf")]
    n_words = 0
    for turn in range(turns + 1):
        for side, program in enumerate((before, after)):
            docs = make()
            n_words = sum(map(len, docs))
            start = perf_counter()
            for batch in minibatch(docs, batch_size):
                program(batch)
            if turn:
                best[side] = min(best[side], perf_counter() - start)
    return n_words / best[0], n_words / best[1]


def _copy_tokens(doc: Doc, nlp: Language) -> Doc:
    words = [token.text for token in doc]
    return Doc(nlp.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])


def _compare_docs(number: int, left: Doc, right: Doc, *, tolerance: float) -> Iterator[Difference]:
    for what, read in _PER_TOKEN.items():
        values = zip(map(read, left), map(read, right), strict=True)
        for index, (before, after) in enumerate(values):
            if before != after:
                yield Difference(number, what, index, before, after)
    for what, read_doc in _PER_DOC.items():
        before, after = read_doc(left), read_doc(right)
        if not _are_equal(before, after, tolerance=tolerance):
            yield Difference(number, what, None, before, after)


_PER_TOKEN: dict[str, Callable[[Any], Any]] = {
    "tag": lambda token: token.tag_,
    "pos": lambda token: token.pos_,
    "morph": lambda token: str(token.morph),
    "lemma": lambda token: token.lemma_,
    "head": lambda token: token.head.i,
    "dep": lambda token: token.dep_,
    "sent_start": lambda token: token.is_sent_start,
    "entity": lambda token: (token.ent_iob_, token.ent_type_, token.ent_kb_id_, token.ent_id_),
}


def _read_spans(doc: Doc) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for key, group in doc.spans.items():
        scores = group.attrs.get("scores", [1.0] * len(group))
        for span, score in zip(group, scores, strict=True):
            found[key, span.start, span.end, span.label_] = float(score)
    return found


_PER_DOC: dict[str, Callable[[Doc], dict[Any, float]]] = {
    "cats": lambda doc: dict(doc.cats),
    "spans": _read_spans,
}


def _are_equal(before: dict[Any, float], after: dict[Any, float], *, tolerance: float) -> bool:
    return before.keys() == after.keys() and all(
        abs(score - after[key]) <= tolerance for key, score in before.items()
    )
