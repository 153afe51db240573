"""Predicting words per second of an encoder, at first sight and when the words are known."""

from __future__ import annotations

from typing import Any

from thinc.api import Model

from benchmarks.corpus import read_banking77
from benchmarks.encoders import (
    BATCH_SIZES,
    PEER,
    Batch,
    Documents,
    build_pair,
    words_per_second,
)
from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import Settings
from benchmarks.timing import take_turns


def measure(settings: Settings) -> list[Figure]:
    """Two passes over the texts of BANKING77 in parts; the second finds the caches filled."""
    texts = [row.text for row in read_banking77("train")]
    documents = Documents(
        texts[:600] if settings.quick else texts, parts=3 if settings.quick else 7
    )
    return [figure for size in BATCH_SIZES for figure in _compare(documents, size)]


class Predictor:
    """Predicts one part a turn."""

    def __init__(self, model: Model[Any, Any], parts: list[list[Batch]]) -> None:
        self.model = model
        self.parts = parts

    def __call__(self, turn: int) -> None:
        """Predict the part of this number."""
        for batch in self.parts[turn]:
            self.model.predict(batch)


def _compare(documents: Documents, batch_size: int) -> list[Figure]:
    models = build_pair(documents.read(batch_size)[0][0])
    figures = []
    for sight, aim in (("first pass", 2.5), ("second pass", 4.0)):
        # New Doc objects in each pass, and not the same for both.
        parts = documents.read(batch_size)
        ours, peer = Predictor(models[0], parts), Predictor(models[1], documents.read(batch_size))
        # No warming up: the first pass is to be the first.
        timing = take_turns(ours, peer, turns=len(parts), warm_up=0)
        details = {
            "words a second": {
                "ours": words_per_second(parts, timing.ours),
                "peer": words_per_second(parts, timing.peer),
            }
        }
        name = f"encoder_predict, {batch_size} texts a batch, {sight}"
        figures.append(speed_figure(name, PEER, timing, aim=aim, details=details))
    return figures
