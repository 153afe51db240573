"""What whole pipelines reach on UD English EWT when all are trained for the same time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinc.api import Config

from benchmarks.english_ewt import (
    OUR_CONFIG,
    STOCK,
    build_stock_config,
    convert_ewt,
    read_sentences,
    set_corpora,
)
from benchmarks.figures import Figure
from benchmarks.settings import ROOT, Settings
from benchmarks.timed_training import Learner, train_in_turns

LARGE_CONFIG = ROOT / "configs" / "english_ewt_large.cfg"
# How long each is trained, in pieces of how many seconds they take turns, and after how many
# pieces the dev set is looked at.
SECONDS, PIECE, EVALUATE_EVERY = 180.0, 10.0, 6
# Of the pipeline that is trained until little gets better.
LONG_SECONDS, LONG_PIECE = 1500.0, 100.0
# Score -> its name in the table, and by how many points it should be above the peer's.
SCORES = {
    "pos_acc": ("UPOS", 0.0),
    "tag_acc": ("TAG", 0.0),
    "morph_acc": ("feats", 0.0),
    "dep_uas": ("UAS", None),
    "dep_las": ("LAS", 2.0),
}
# What they should reach by themselves, on gold tokens and without pretrained weights.
LEVELS = {"pos_acc": 95.5, "morph_acc": None, "dep_las": 86.0}


def measure(settings: Settings) -> list[Figure]:
    """Ours in turns with the stock pipeline, on gold sentences and tokens, encoders of one size.

    Each is scored on the test set as it was when the dev set liked it best.
    """
    limit, piece = (3.0, 1.5) if settings.quick else (SECONDS, PIECE)
    configs = {
        "ours": Config().from_disk(OUR_CONFIG, interpolate=False),
        "peer": build_stock_config(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        corpus = convert_ewt(settings, Path(temporary))
        learners = {
            name: Learner(set_corpora(config, corpus), limit) for name, config in configs.items()
        }
        train_in_turns(
            list(learners.values()), limit=limit, piece=piece, evaluate_every=EVALUATE_EVERY
        )
        test = {name: score_best(learner, corpus) for name, learner in learners.items()}
    details = {name: describe(learner, test[name]) for name, learner in learners.items()}
    differences = [
        Figure(
            f"ewt_accuracy, test {label} after the same time, ours minus theirs",
            STOCK,
            [test["ours"][score] - test["peer"][score]],
            aim,
            unit="points",
            details=details if score == "pos_acc" else {},
        )
        for score, (label, aim) in SCORES.items()
    ]
    return [*differences, *_levels("ewt_accuracy, english_ewt.cfg", test["ours"])]


def measure_long(settings: Settings) -> list[Figure]:
    """What the larger of our pipelines reaches in the end, without any pretrained weights."""
    limit = 3.0 if settings.quick else LONG_SECONDS
    with tempfile.TemporaryDirectory() as temporary:
        corpus = convert_ewt(settings, Path(temporary))
        config = Config().from_disk(LARGE_CONFIG, interpolate=False)
        learner = Learner(set_corpora(config, corpus), limit)
        train_in_turns([learner], limit=limit, piece=min(limit, LONG_PIECE), evaluate_every=1)
        test = score_best(learner, corpus)
    return _levels(f"ewt_long, {LARGE_CONFIG.name}", test, details=describe(learner, test))


def score_best(learner: Learner, corpus: Path) -> dict[str, float]:
    """The scores of the state that was best on the dev set on the test set, in percent."""
    learner.take_best()
    found = learner.nlp.evaluate(read_sentences(learner.nlp, corpus, "test"))
    return _in_percent(found)


def describe(learner: Learner, test: Mapping[str, float]) -> dict[str, Any]:
    """What else is worth keeping of a training."""
    best = max(learner.evaluations, key=lambda each: each.score)
    return {
        "seconds": round(learner.seconds, 1),
        "steps": learner.steps,
        "words a second": round(learner.words / learner.seconds),
        "best after": round(best.seconds, 1),
        "dev": _in_percent(best.scores),
        "test": dict(test),
    }


def _in_percent(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(100 * scores[name], 2) for name in SCORES}


def _levels(
    name: str, test: Mapping[str, float], *, details: dict[str, Any] | None = None
) -> list[Figure]:
    return [
        Figure(
            f"{name}, test {SCORES[score][0]}",
            "-",
            [test[score]],
            aim,
            unit="points",
            details=details or {} if score == "pos_acc" else {},
        )
        for score, aim in LEVELS.items()
    ]
