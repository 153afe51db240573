"""The pipeline that is sent to workers: a tagger on an encoder of 7.5 million parameters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import fix_random_seed

from benchmarks.corpus import read_banking77
from benchmarks.settings import Settings

ENCODER = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": 256,
    "depth": 4,
    "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
    "rows": [7000, 4000, 3000, 3000],
}
MODEL = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}


@Language.component("benchmark_began")
def note_begin(doc: Doc) -> Doc:
    """Write down when the document came in."""
    doc.user_data["began"] = time.time()
    return doc


@Language.component("benchmark_ended")
def note_end(doc: Doc) -> Doc:
    """Write down when the document was ready."""
    doc.user_data["ended"] = time.time()
    return doc


def save_tagger(folder: Path) -> Path:
    """Save it with random weights, which take as long as trained ones."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("benchmark_began")
    nlp.add_pipe("torch_tagger", config={"model": MODEL})
    nlp.add_pipe("benchmark_ended")
    tags = [f"T{number}" for number in range(17)]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc(" ".join(tags)), {"tags": tags})])
    nlp.to_disk(folder)
    return folder


def read_texts(settings: Settings, *, quick: int) -> list[str]:
    """The training texts of BANKING77."""
    texts = [row.text for row in read_banking77("train")]
    return texts[:quick] if settings.quick else texts


def count_words(texts: Sequence[str]) -> int:
    """As the pipeline counts them."""
    tokenizer = spacy.blank("en").tokenizer
    return sum(len(tokenizer(text)) for text in texts)
