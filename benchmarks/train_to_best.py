"""The wall clock of `spacy train` until we are as good as the peer ever gets."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spacy.cli.init_config import init_config
from spacy.pipeline.textcat import DEFAULT_SINGLE_TEXTCAT_MODEL
from thinc.api import Config

from benchmarks.figures import Figure
from benchmarks.settings import ROOT, Settings
from benchmarks.spacy_train import (
    Evaluation,
    Scores,
    convert_banking77,
    run_spacy_train,
    score_pipeline,
)

OUR_CONFIG = ROOT / "configs" / "textcat.cfg"
# What the peers may take. Otherwise their [training] is spaCy's default (patience 1600,
# evaluated every 200 steps), which would train on long after nothing gets better.
PEER_MAX_STEPS = 3000
BOW, ENSEMBLE = "spacy.TextCatBOW.v3", "spacy.TextCatEnsemble.v2"


def measure(settings: Settings) -> list[Figure]:
    """Ours, both peers, ours again: how the two runs of ours differ shows how much to believe."""
    runs: dict[str, list[Evaluation]] = {}
    scores: dict[str, Scores] = {}
    configs = {
        "ours, before": Config().from_disk(OUR_CONFIG, interpolate=False),
        BOW: build_stock_config(BOW),
        ENSEMBLE: build_stock_config(ENSEMBLE),
        "ours, after": Config().from_disk(OUR_CONFIG, interpolate=False),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_banking77(folder)
        for name, config in configs.items():
            print(f"   -- {name}", flush=True)
            if settings.quick:
                config["training"].update(max_steps=20, eval_frequency=10)
            output = folder / name.replace(", ", "-")
            runs[name] = run_spacy_train(config, folder, output)
            scores[name] = score_pipeline(output / "model-best", folder / "test.spacy")
    details = {
        "peers' max_steps": PEER_MAX_STEPS,
        "runs": {name: _describe(found) for name, found in runs.items()},
        "test": {name: asdict(found) for name, found in scores.items()},
    }
    ours = [runs["ours, before"], runs["ours, after"]]
    return [
        _compare_time("train_to_best, against bag of words", BOW, ours, runs[BOW], details),
        _compare_time("train_to_best, against ensemble", ENSEMBLE, ours, runs[ENSEMBLE], {}),
        *_compare_scores(scores),
    ]


def build_stock_config(architecture: str) -> Config:
    """What `spacy init config --pipeline textcat --optimize efficiency` gives.

    It has the bag of words; for the ensemble, the component's default model is put in.
    """
    config = init_config(lang="en", pipeline=["textcat"], optimize="efficiency", silent=True)
    textcat: dict[str, Any] = config["components"]["textcat"]
    if architecture == ENSEMBLE:
        textcat["model"] = copy.deepcopy(DEFAULT_SINGLE_TEXTCAT_MODEL)
    if textcat["model"]["@architectures"] != architecture:
        raise RuntimeError(
            f"spaCy's own config should have {architecture}, but this release gives "
            f"{textcat['model']['@architectures']}: compare with spaCy 3.8"
        )
    config["training"]["max_steps"] = PEER_MAX_STEPS
    return config


def seconds_to(run: list[Evaluation], score: float) -> float | None:
    """When a run's dev score first was this high; None if it never was."""
    return next((each.seconds for each in run if each.score >= score), None)


def _compare_time(
    name: str,
    peer_name: str,
    ours: list[list[Evaluation]],
    peer: list[Evaluation],
    details: dict[str, Any],
) -> Figure:
    best = max(each.score for each in peer)
    time_of_best = seconds_to(peer, best)
    times = [seconds_to(run, best) for run in ours]
    # A run that never got there would leave its ratio out and flatter the rest.
    reached = time_of_best is not None and None not in times
    values = [time_of_best / time for time in times if time] if reached and time_of_best else []
    details = {
        "peer's best dev score": round(best, 4),
        "seconds": {"ours": [_rounded(time) for time in times], "peer": _rounded(time_of_best)},
        **details,
    }
    return Figure(name, peer_name, values, aim=8.0, details=details)


def _compare_scores(scores: dict[str, Scores]) -> list[Figure]:
    ours = [100 * scores[name].macro_f for name in ("ours, before", "ours, after")]
    peer = max((BOW, ENSEMBLE), key=lambda name: scores[name].macro_f)
    best = 100 * scores[peer].macro_f
    return [
        Figure(
            "train_to_best, test macro F, ours minus theirs",
            peer,
            [value - best for value in ours],
            aim=0.0,
            unit="points",
        ),
        Figure("train_to_best, test macro F", "-", ours, aim=91.0, unit="points"),
    ]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _describe(run: list[Evaluation]) -> dict[str, Any]:
    best = max(run, key=lambda each: each.score)
    return {
        "seconds": round(run[-1].seconds, 1),
        "steps": run[-1].step,
        "best dev score": round(best.score, 4),
        "best at step": best.step,
        "evaluations": [[round(e.seconds, 1), e.step, round(e.score, 4)] for e in run],
    }
