"""Restaurants-8k: the slots of restaurant bookings, as spans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy.language import Language
from spacy.training import Example

SPANS_KEY = "sc"
FILES = {"all": "train_0.json", "256": "train_5.json", "test": "test.json"}


@dataclass(frozen=True)
class Booking:
    """A text and its slots: (first character, the one behind the last, slot)."""

    text: str
    spans: Sequence[tuple[int, int, str]]


def read_restaurant8k(folder: Path, part: str) -> list[Booking]:
    """The bookings of "all" (8,198 to train on), "256" (the first of them) or "test"."""
    rows = json.loads((folder / FILES[part]).read_text(encoding="utf-8"))
    return [
        Booking(
            row["userInput"]["text"],
            [
                (span.get("startIndex", 0), span["endIndex"], label["slot"])
                for label in row.get("labels", ())
                for span in [label["valueSpan"]]
            ],
        )
        for row in rows
    ]


def make_examples(nlp: Language, bookings: Sequence[Booking]) -> list[Example]:
    """Examples whose spans begin and end with tokens: a part of a token counts as all of it."""
    examples = []
    for booking in bookings:
        reference = nlp.make_doc(booking.text)
        spans = [
            reference.char_span(start, end, label=slot, alignment_mode="expand")
            for start, end, slot in booking.spans
        ]
        reference.spans[SPANS_KEY] = [span for span in spans if span is not None]
        examples.append(Example(nlp.make_doc(booking.text), reference))
    return examples
