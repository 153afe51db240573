"""The pipelines that are compared: a stock one and ours, with the same optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Optimizer, fix_random_seed

from benchmarks.corpus import make_examples
from spacy_torch.training.labelled_text import LabelledText

STOCK_BOW = {
    "@architectures": "spacy.TextCatBOW.v3",
    "exclusive_classes": True,
    "length": 262144,
    "ngram_size": 1,
    "no_output_layer": False,
}
OUR_BOW = {
    "@architectures": "spacy-torch.TextCatBOW.v1",
    "exclusive_classes": True,
    "ngram_rows": 262144,
    "ngram_sizes": [1],
}
OUR_CNN = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": 64,
        "depth": 2,
        "attrs": ["NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [2000, 2000, 500, 1000, 500],
    },
}


def build_pipeline(
    factory: str,
    model: dict[str, Any] | None = None,
    *,
    sample: Sequence[LabelledText],
    names: Sequence[str],
    seed: int = 0,
) -> tuple[Language, Optimizer]:
    """An initialized pipeline of one classifier, and spaCy's default optimizer.

    Args:
        factory: "textcat" or "torch_textcat".
        model: its model block; None for the default one.
        sample: texts to initialize with.
        names: all labels.
        seed: for the weights.
    """
    torch.set_num_threads(1)
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={} if model is None else {"model": model})
    optimizer = nlp.initialize(lambda: make_examples(nlp, sample, names))
    return nlp, optimizer


def measure_accuracy(nlp: Language, examples: Sequence[Example]) -> float:
    """The share of texts whose highest score is that of the right label."""
    docs = nlp.pipe([eg.predicted for eg in examples], batch_size=256)
    right = 0
    for doc, example in zip(docs, examples, strict=True):
        truth = example.reference.cats
        right += max(doc.cats, key=doc.cats.__getitem__) == max(truth, key=truth.__getitem__)
    return right / len(examples)
