"""Training words per second of an encoder: forward, backward and the optimizer's step."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy
import spacy
from thinc.api import Model

from benchmarks.corpus import read_banking77
from benchmarks.encoders import (
    BATCH_SIZES,
    PEER,
    WIDTH,
    Batch,
    Documents,
    build_pair,
    words_per_second,
)
from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import Settings
from benchmarks.timing import Timing, take_turns


def measure(settings: Settings) -> list[Figure]:
    """Both with spaCy's default optimizer, over the texts of BANKING77 in parts."""
    texts = [row.text for row in read_banking77("train")]
    documents = Documents(
        texts[:600] if settings.quick else texts, parts=3 if settings.quick else 7
    )
    return [_compare(documents, batch_size) for batch_size in BATCH_SIZES]


class Trainer:
    """Trains a model on one part a turn, and adds up what its own steps took."""

    def __init__(self, model: Model[Any, Any], parts: list[list[Batch]]) -> None:
        self.model = model
        self.parts = parts
        self.optimizer = spacy.blank("en").create_optimizer()
        self.step_seconds: list[float] = []
        generator = numpy.random.default_rng(0)
        longest = max(len(doc) for part in parts for batch in part for doc in batch)
        self.gradient = generator.normal(size=(longest, WIDTH), scale=1e-3).astype("float32")

    def __call__(self, turn: int) -> None:
        """Train on the part of this number."""
        steps = 0.0
        for batch in self.parts[turn]:
            _, backprop = self.model.begin_update(batch)
            backprop([self.gradient[: len(doc)] for doc in batch])
            start = perf_counter()
            self.model.finish_update(self.optimizer)
            steps += perf_counter() - start
        self.step_seconds.append(steps)


def _compare(documents: Documents, batch_size: int) -> Figure:
    # Each tokenizes for itself, so that neither finds what the other left on a Doc.
    parts = documents.read(batch_size)
    models = build_pair(parts[0][0])
    ours, peer = Trainer(models[0], parts), Trainer(models[1], documents.read(batch_size))
    timing = take_turns(ours, peer, turns=len(parts))
    no_step = Timing(
        [all_ - step for all_, step in zip(timing.ours, ours.step_seconds[1:], strict=True)],
        [all_ - step for all_, step in zip(timing.peer, peer.step_seconds[1:], strict=True)],
    )
    name = f"encoder_train, {batch_size} texts a batch"
    details = {
        "words a second": {
            "ours": words_per_second(parts, timing.ours),
            "peer": words_per_second(parts, timing.peer),
        },
        "without the optimizer": speed_figure(name, PEER, no_step, aim=None).to_dict()["median"],
    }
    return speed_figure(name, PEER, timing, aim=1.8, details=details)
