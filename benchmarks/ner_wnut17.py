"""How good configs/ner.cfg is on WNUT17, against the stock pipeline, and how well it knows it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy
import spacy
from spacy.cli.init_config import init_config
from spacy.language import Language
from thinc.api import Config

from benchmarks.figures import Figure
from benchmarks.hf_transformer import find_minilm
from benchmarks.settings import ROOT, Settings
from benchmarks.spacy_train import run_spacy_train
from benchmarks.wnut17 import convert_wnut17, make_bare_docs, make_examples, read_wnut17

CONFIG = ROOT / "configs" / "ner.cfg"
THRESHOLD = 0.05  # the best on the dev set
PEER = "ner, efficiency config"
# Where its default patience of 1,600 steps ended the run seen: it was best at 600.
PEER_MAX_STEPS = 2200
SEEDS = (0, 1, 2)
N_BINS = 10


@dataclass(frozen=True)
class Run:
    """What one training reached."""

    dev_f: float
    test: dict[str, float]
    seconds: float
    calibration: dict[str, float]


def measure(settings: Settings) -> list[Figure]:
    """Three seeds of each, in turns, with plain `spacy train`; the test split is read once."""
    runs: dict[str, list[Run]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_wnut17(settings.data, folder, spacy.blank("en"))
        for seed in SEEDS[:1] if settings.quick else SEEDS:
            for name, config in _configs(seed, quick=settings.quick).items():
                print(f"   -- {name}, seed {seed}", flush=True)
                runs[name].append(_run(config, folder, folder / f"{name}-{seed}", settings))
    ours, peer = ([100 * run.test["f"] for run in runs[name]] for name in ("ours", "peer"))
    details = {name: [_describe(run) for run in found] for name, found in runs.items()}
    return [
        Figure(
            "ner_wnut17, test F, ours minus theirs",
            PEER,
            [our - their for our, their in zip(ours, peer, strict=True)],
            aim=6.0,
            unit="points",
            details=details,
        ),
        Figure("ner_wnut17, test F", "-", ours, aim=None, unit="points"),
        Figure(
            "ner_wnut17, calibration error of entity probabilities",
            "-",
            [100 * run.calibration["error"] for run in runs["ours"]],
            aim=None,
            better="lower",
            unit="points",
        ),
        Figure(
            "ner_wnut17, seconds of training",
            PEER,
            [their.seconds / our.seconds for our, their in zip(*runs.values(), strict=True)],
            aim=None,
        ),
    ]


def measure_minilm(settings: Settings) -> list[Figure]:
    """One seed with MiniLM as the encoder, fine-tuned for a few epochs."""
    config = _read_config()
    config["components"]["torch_ner"]["model"]["encoder"] = {
        "@torch_encoders": "spacy-torch.HFTransformer.v1",
        "name": find_minilm(),
        "width": 384,
    }
    steps = 10 if settings.quick else 500  # of 500 words: four epochs
    config["training"].update(max_steps=steps, eval_frequency=steps // 5, dropout=0.1)
    config["training"]["batcher"]["size"] = 500
    config["training"]["optimizer"] = {
        "@optimizers": "spacy-torch.AdamW.v1",
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": 50,
            "total_steps": 500,
            "initial_rate": 0.002,
        },
        "groups": [{"pattern": r"encoder\.", "learn_rate_factor": 0.1}],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_wnut17(settings.data, folder, spacy.blank("en"))
        run = _run(config, folder, folder / "minilm", settings)
    values, details = [100 * run.test["f"]], _describe(run)
    name = "ner_minilm, WNUT17, test F, one seed"
    return [Figure(name, "-", values, aim=42.0, unit="points", details=details)]


def calibration_error(
    probabilities: Sequence[float], hits: Sequence[bool], *, n_bins: int = N_BINS
) -> float:
    """How far probabilities are from the share that is right, weighed over bins of equal width.

    The expected calibration error of Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    p, right = numpy.asarray(probabilities), numpy.asarray(hits, dtype=float)
    bins = numpy.minimum((p * n_bins).astype(int), n_bins - 1)
    gaps = numpy.abs(numpy.bincount(bins, weights=p - right, minlength=n_bins))
    return float(gaps.sum() / max(len(p), 1))


def _read_config() -> Config:
    config = Config().from_disk(CONFIG, interpolate=False)
    config["components"]["torch_ner"]["threshold"] = THRESHOLD
    return config


def _configs(seed: int, *, quick: bool) -> dict[str, Config]:
    ours = _read_config()
    peer = init_config(lang="en", pipeline=["ner"], optimize="efficiency", silent=True)
    peer["training"]["max_steps"] = PEER_MAX_STEPS
    for config in (ours, peer):
        config["system"]["seed"] = seed
        if quick:
            config["training"].update(max_steps=20, eval_frequency=10)
    return {"ours": ours, "peer": peer}


def _run(config: Config, corpus: Path, output: Path, settings: Settings) -> Run:
    start = perf_counter()
    evaluations = run_spacy_train(config, corpus, output)
    seconds = perf_counter() - start
    nlp = spacy.load(output / "model-best")
    scores = nlp.evaluate(make_examples(read_wnut17(settings.data, "test", nlp)))
    test = {key: scores[f"ents_{key}"] or 0.0 for key in "fpr"}
    calibration = _calibrate(nlp, settings) if "torch_ner" in nlp.pipe_names else {}
    return Run(max(each.score for each in evaluations), test, seconds, calibration)


def _calibrate(nlp: Language, settings: Settings) -> dict[str, float]:
    """The error over all spans of the test split of which a label is at least 5 % probable."""
    gold = read_wnut17(settings.data, "test", nlp)
    ner: Any = nlp.get_pipe("torch_ner")
    probabilities: list[float] = []
    hits: list[bool] = []
    for doc, found in zip(gold, ner.probabilities(make_bare_docs(gold), floor=0.05), strict=True):
        true = {(entity.start, entity.end, entity.label_) for entity in doc.ents}
        for span, by_label in found:
            for label, p in by_label.items():
                if p >= 0.05:
                    probabilities.append(p)
                    hits.append((span.start, span.end, label) in true)
    return {
        "error": calibration_error(probabilities, hits),
        "spans": len(probabilities),
        "mean probability": float(numpy.mean(probabilities or [0.0])),
        "share of entities": float(numpy.mean(hits or [0.0])),
    }


def _describe(run: Run) -> dict[str, Any]:
    rounded = {key: round(value, 4) for key, value in run.calibration.items()}
    return {
        "dev F": round(100 * run.dev_f, 2),
        "test": {key: round(100 * value, 2) for key, value in run.test.items()},
        "seconds": round(run.seconds, 1),
        "calibration": rounded,
    }
