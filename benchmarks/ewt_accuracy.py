"""Whole runs of `spacy train` on UD English EWT: the wall clock, and what they lead to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import spacy
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
from benchmarks.settings import Settings
from benchmarks.spacy_train import Evaluation, run_spacy_train

# Fewer than the config has: five passes over the treebank, in about a quarter of an hour.
MAX_STEPS = 2500
# Score -> its name in the table, and by how many points it should be above the peer's.
SCORES = {
    "pos_acc": ("POS", 0.0),
    "tag_acc": ("TAG", 0.0),
    "morph_acc": ("MORPH", 0.0),
    "dep_uas": ("UAS", None),
    "dep_las": ("LAS", 2.0),
}
# What they should reach by themselves, on gold tokens and without pretrained weights.
LEVELS = {"pos_acc": 95.5, "dep_las": 86.0}


def measure(settings: Settings) -> list[Figure]:
    """Ours and the stock pipeline one after the other, with the same batches, in `MAX_STEPS`."""
    ours = Config().from_disk(OUR_CONFIG, interpolate=False)
    stock = build_stock_config()
    for setting in ("batcher", "dropout", "patience", "eval_frequency"):
        stock["training"][setting] = ours["training"][setting]
    runs: dict[str, list[Evaluation]] = {}
    scores: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        corpus = convert_ewt(settings, Path(temporary))
        for name, config in (("ours", ours), ("stock", stock)):
            print(f"   -- {name}", flush=True)
            config = set_corpora(config, corpus)
            config["training"]["max_steps"] = MAX_STEPS
            if settings.quick:
                config["training"].update(max_steps=20, eval_frequency=10)
            runs[name] = run_spacy_train(config, corpus, corpus / name)
            scores[name] = score_pipeline(corpus / name / "model-best", corpus)
    details = {
        "steps": runs["ours"][-1].step,
        "seconds": {name: round(run[-1].seconds, 1) for name, run in runs.items()},
        "test": scores,
    }
    ratio = runs["stock"][-1].seconds / runs["ours"][-1].seconds
    return [
        Figure("ewt_accuracy, whole training", STOCK, [ratio], aim=1.0, details=details),
        *_compare_scores(scores),
    ]


def score_pipeline(pipeline: Path, corpus: Path) -> dict[str, float]:
    """The scores of a saved pipeline on the test set in percent, on gold sentences."""
    nlp = spacy.load(pipeline)
    found: dict[str, Any] = nlp.evaluate(read_sentences(nlp, corpus, "test"))
    return {score: round(100 * found[score], 2) for score in SCORES}


def _compare_scores(scores: dict[str, dict[str, float]]) -> list[Figure]:
    ours, stock = scores["ours"], scores["stock"]
    differences = [
        Figure(
            f"ewt_accuracy, test {label}, ours minus theirs",
            STOCK,
            [ours[score] - stock[score]],
            aim=aim,
            unit="points",
        )
        for score, (label, aim) in SCORES.items()
    ]
    levels = [
        Figure(f"ewt_accuracy, test {SCORES[score][0]}", "-", [ours[score]], aim, unit="points")
        for score, aim in LEVELS.items()
    ]
    return differences + levels
