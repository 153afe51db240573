"""Words per second of `torch_ner` and of the stock `ner` with an encoder of the same size."""

from __future__ import annotations

from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Optimizer, fix_random_seed

from benchmarks.corpus import batched
from benchmarks.encoders import words_per_second
from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import Settings
from benchmarks.timing import Timing, take_turns
from benchmarks.wnut17 import make_bare_docs, make_examples, read_wnut17

PEER = "ner"
BATCH_SIZE = 64
ENCODER = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": 96,
    "depth": 4,
    "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
    "rows": [2000, 1000, 1000, 1000],
}
OURS = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}

Parts = list[list[Doc]]


def measure(settings: Settings) -> list[Figure]:
    """Both on the sentences of WNUT17 in parts: whole steps of training, then prediction."""
    torch.set_num_threads(1)
    vocab = spacy.blank("en")
    docs = read_wnut17(settings.data, "train", vocab)
    docs = docs[:600] if settings.quick else docs
    n_parts = 3 if settings.quick else 7
    parts = list(batched(docs, -(-len(docs) // n_parts)))
    ours, peer = Trainer("torch_ner", OURS, parts), Trainer(PEER, None, parts)
    training = take_turns(ours, peer, turns=len(parts))
    predicting = take_turns(
        Predictor(ours.nlp, parts), Predictor(peer.nlp, parts), turns=len(parts)
    )
    return [
        _figure("ner_speed, training", training, parts, aim=1.8),
        _figure("ner_speed, predicting", predicting, parts, aim=2.0),
    ]


class Trainer:
    """A pipeline of one recognizer that learns from one part a turn, with spaCy's optimizer."""

    def __init__(self, factory: str, model: dict[str, Any] | None, parts: Parts) -> None:
        fix_random_seed(0)
        self.nlp: Language = spacy.blank("en")
        self.nlp.add_pipe(factory, config={} if model is None else {"model": model})
        self.parts = parts
        examples = [example for part in parts for example in make_examples(part)]
        self.optimizer: Optimizer = self.nlp.initialize(lambda: examples)

    def __call__(self, turn: int) -> None:
        """Train on the part of this number."""
        for batch in batched(make_examples(self.parts[turn]), BATCH_SIZE):
            self.nlp.update(batch, sgd=self.optimizer, drop=0.1)


class Predictor:
    """Finds the entities of one part a turn."""

    def __init__(self, nlp: Language, parts: Parts) -> None:
        self.nlp = nlp
        self.parts = parts

    def __call__(self, turn: int) -> None:
        """Predict the part of this number."""
        for _ in self.nlp.pipe(make_bare_docs(self.parts[turn]), batch_size=BATCH_SIZE):
            pass


def _figure(name: str, timing: Timing, parts: Parts, *, aim: float) -> Figure:
    batches = [[part] for part in parts]
    details = {
        "words a second": {
            "ours": words_per_second(batches, timing.ours),
            "peer": words_per_second(batches, timing.peer),
        },
        "sentences a batch": BATCH_SIZE,
    }
    return speed_figure(name, PEER, timing, aim=aim, details=details)
