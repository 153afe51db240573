"""The sentences of WNUT 2017: emerging entities in tweets, comments and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example, biluo_tags_to_spans, iob_to_biluo

Part = Literal["train", "dev", "test"]

FILES: dict[Part, str] = {
    "train": "wnut17train.conll",
    "dev": "emerging.dev.conll",
    "test": "emerging.test.annotated",
}


def read_wnut17(folder: Path, part: Part, nlp: Language) -> list[Doc]:
    """The sentences of an official split, with their entities.

    Args:
        folder: of all data sets.
    """
    lines = (folder / "wnut17" / FILES[part]).read_text(encoding="utf8").splitlines()
    return [_make_doc(nlp, sentence) for sentence in _split(lines)]


def make_examples(docs: Sequence[Doc]) -> list[Example]:
    """One example per sentence, with a document as the tokenizer would give it."""
    return [Example(_bare(doc), doc) for doc in docs]


def make_bare_docs(docs: Sequence[Doc]) -> list[Doc]:
    """The same sentences without their entities."""
    return [_bare(doc) for doc in docs]


def convert_wnut17(folder: Path, output: Path, nlp: Language) -> None:
    """Write train.spacy, dev.spacy and test.spacy."""
    for part in FILES:
        DocBin(docs=read_wnut17(folder, part, nlp)).to_disk(output / f"{part}.spacy")


def _split(lines: Sequence[str]) -> Iterator[list[list[str]]]:
    sentence: list[list[str]] = []
    for line in [*lines, ""]:
        if line.strip():
            sentence.append(line.split("\t")[:2])
        elif sentence:
            yield sentence
            sentence = []


def _make_doc(nlp: Language, sentence: list[list[str]]) -> Doc:
    doc = Doc(nlp.vocab, [word for word, _ in sentence])
    # A few tokens of the test set have two tags: the first is the one that is scored.
    tags = [tag.split(",")[0] for _, tag in sentence]
    doc.set_ents(biluo_tags_to_spans(doc, iob_to_biluo(tags)))
    return doc


def _bare(doc: Doc) -> Doc:
    return Doc(doc.vocab, [token.text for token in doc])
