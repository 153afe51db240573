"""The texts that are learned from: BANKING77, and SST-2 where it is at hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from spacy.language import Language
from spacy.training import Example

from benchmarks.settings import ROOT
from spacy_torch.training.labelled_text import LabelledText, make_doc, read_labelled_text

BANKING77 = ROOT / "assets" / "banking77"

Part = Literal["train", "test"]


def read_banking77(part: Part) -> list[LabelledText]:
    """All texts of the official split, in an order shuffled once and for all."""
    rows = read_labelled_text(BANKING77 / f"{part}.csv", label="category")
    random.Random(0).shuffle(rows)
    return rows


def read_sst2(folder: Path, part: Part) -> list[LabelledText]:
    """Sentences of film reviews with the label 0 or 1, shuffled likewise."""
    rows = read_labelled_text(folder / "sst2" / f"{part}.tsv", columns=["text", "label"])
    random.Random(0).shuffle(rows)
    return rows


def keep_frequent(rows: Sequence[LabelledText], n_labels: int) -> list[str]:
    """The labels with the most texts, the most frequent first."""
    counts = Counter(row.labels[0] for row in rows)
    return [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][
        :n_labels
    ]


def merge_labels(rows: Sequence[LabelledText], n_labels: int) -> list[LabelledText]:
    """The same texts with their labels put into a few groups of equal numbers."""
    names = sorted({row.labels[0] for row in rows})
    group = {name: f"group {place % n_labels}" for place, name in enumerate(names)}
    return [LabelledText(row.text, (group[row.labels[0]],)) for row in rows]


def make_examples(
    nlp: Language, rows: Sequence[LabelledText], names: Sequence[str]
) -> list[Example]:
    """One example per text, with 1.0 for its label and 0.0 for every other name."""
    return [Example(nlp.make_doc(row.text), make_doc(nlp, row, names=names)) for row in rows]


def batched(items: Sequence, size: int) -> Iterator[Sequence]:
    """Consecutive slices; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
