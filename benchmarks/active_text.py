"""The first 200 answers about texts: our fast learner against networks and scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import spacy
import torch

from benchmarks.corpus import keep_frequent, read_banking77, read_sst2
from benchmarks.figures import Figure
from benchmarks.pipelines import OUR_CNN
from benchmarks.settings import Settings
from spacy_torch.annotation.active import Settings as LoopSettings
from spacy_torch.annotation.gold import Gold, GoldData, split_gold
from spacy_torch.annotation.measures import compare
from spacy_torch.annotation.oracle import Noise
from spacy_torch.annotation.simulation import Contestant, Protocol, Run, Simulation, simulate
from spacy_torch.annotation.strategies import (
    build_diverse_margin,
    build_high_score,
    build_margin,
    build_random,
)
from spacy_torch.annotation.summary import summarize
from spacy_torch.training.labelled_text import LabelledText

FAST: dict[str, Any] = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True}
SLOW: dict[str, Any] = {
    "@architectures": "spacy-torch.TextCatEnsemble.v1",
    "exclusive_classes": True,
    "encoder": OUR_CNN["encoder"],
}
ENSEMBLE, CNN, TFIDF = "spacy.TextCatEnsemble.v2", "CNN with replay", "TF-IDF + logistic regression"
PAIR, ALONE = "FastTextCat.v1 + ensemble", "FastTextCat.v1 alone"
MARGIN, DIVERSE = "FastTextCat.v1 alone, margin", "FastTextCat.v1 alone, diverse margin"
MARGIN_TFIDF = "TF-IDF + logistic regression, margin"
SLOW_ALONE = "TextCatEnsemble.v1 with replay"

# Nothing in the fast learner is learned by gradient; chance needs no scores.
EXACT = LoopSettings(epochs=0)
AT_RANDOM = LoopSettings(window=10)
EXACT_AT_RANDOM = LoopSettings(epochs=0, window=10)


def measure_banking77(settings: Settings) -> list[Figure]:
    """The ten most frequent intents of BANKING77."""
    return _contest("BANKING77, 10 intents", _read_banking77(), settings)


def measure_sst2(settings: Settings) -> list[Figure]:
    """Film reviews, good or bad."""
    data = _read_sst2(settings)
    return _contest("SST-2", data, settings) if data is not None else []


def measure_strategies_banking77(settings: Settings) -> list[Figure]:
    """What the choice of questions gains with the fast learner alone, and what errors cost."""
    return _compare_strategies("BANKING77, 10 intents", _read_banking77(), settings)


def measure_strategies_sst2(settings: Settings) -> list[Figure]:
    """The same for SST-2."""
    data = _read_sst2(settings)
    return _compare_strategies("SST-2", data, settings) if data is not None else []


def measure_rare(settings: Settings) -> list[Figure]:
    """One intent in twenty texts, to be found by yes-or-no questions."""
    train, test = _read_banking77_golds()
    rows, label = _make_rare([*train, *test], share=0.05)
    data = split_gold(rows, share=0.3)
    model = {**FAST, "exclusive_classes": False}
    found = _simulate(
        data,
        [
            _contestant("random", model, EXACT_AT_RANDOM),
            _contestant("high score", model, EXACT, build_high_score()),
            _contestant("margin", model, EXACT, build_margin()),
        ],
        settings,
        kind="binary",
    )
    n_found = {
        name: [run.checkpoints[-1].n_found for run in found.of(name)] for name in found.names
    }
    details = {"label": label, "in the pool": data.count(label), "found": n_found}
    return [
        Figure(
            f"rare label (5 %), {name}: examples found in 200 questions",
            "random order",
            [
                ours / max(theirs, 1)
                for ours, theirs in zip(n_found[name], n_found["random"], strict=True)
            ],
            5.0 if name == "high score" else None,
            details=details,
        )
        for name in ("high score", "margin")
    ]


def measure_latency(settings: Settings) -> list[Figure]:
    """How long the annotator waits: for the first question, and after ten answers."""
    rows = [Gold.of(row.text, row.labels) for row in read_banking77("train")][:5200]
    data = split_gold(rows[:5000], rows[5000:])
    found = _simulate(data, [_contestant(ALONE, FAST, EXACT, build_margin())], settings)
    late = [point for run in found.of(ALONE) for point in run.checkpoints[-5:]]
    learning = 1000 * np.array([point.learning for point in late])
    asking = [point.asking for run in found.of(ALONE) for point in run.checkpoints[1:]]
    return [
        Figure(
            "10 answers learned at 160 to 200 answers, 95th percentile",
            "-",
            [float(np.quantile(learning, 0.95))],
            200.0,
            "lower",
            unit="ms",
            details={"median": round(float(np.median(learning)), 1)},
        ),
        Figure(
            "10 questions chosen from a window of 256, median",
            "-",
            [1000 * float(np.median(asking))],
            None,
            "lower",
            unit="ms",
        ),
        Figure(
            "first question from a pool of 5,000 texts, pool statistics among it",
            "-",
            [run.preparing for run in found.of(ALONE)],
            3.0,
            "lower",
            unit="s",
        ),
    ]


def _compare_strategies(name: str, data: GoldData, settings: Settings) -> list[Figure]:
    contestants = [
        _contestant(ALONE, FAST, EXACT_AT_RANDOM, follower=TFIDF),
        _contestant(MARGIN, FAST, EXACT, build_margin(), MARGIN_TFIDF),
        _contestant(DIVERSE, FAST, EXACT, build_diverse_margin()),
    ]
    found = _simulate(data, contestants, settings)
    figures = [
        _points(f"{name}, margin: area", "random order", found, MARGIN, ALONE, aim=-1.0),
        _points(f"{name}, diverse margin: area", "random order", found, DIVERSE, ALONE, aim=None),
        _points(
            f"{name}, {TFIDF} on what margin asked: area",
            "the same on random order",
            found,
            MARGIN_TFIDF,
            TFIDF,
            aim=None,
        ),
    ]
    for one in (ALONE, MARGIN):
        errors = [100 * run.checkpoints[-1].calibration_error for run in found.of(one)]
        figures.append(
            Figure(
                f"{name}, {one}: expected calibration error at the end",
                "-",
                errors,
                10.0 if one == ALONE else None,
                "lower",
                unit="points",
            )
        )
    for noise, what in [
        (Noise(flipped=0.2), "20 % of the answers wrong"),
        (Noise(ignored=0.2), "20 % passed over"),
    ]:
        noisy = _simulate(data, contestants[:1], settings, noise=noise)
        areas = [
            100 * (a.area - b.area) for a, b in zip(noisy.of(ALONE), found.of(ALONE), strict=True)
        ]
        theirs = [
            100 * (a.area - b.area) for a, b in zip(noisy.of(TFIDF), found.of(TFIDF), strict=True)
        ]
        details = {f"the same for {TFIDF}": [round(area, 2) for area in theirs]}
        figures.append(
            Figure(
                f"{name}, {what}: area", "no errors", areas, None, unit="points", details=details
            )
        )
    return figures


def _contest(name: str, data: GoldData, settings: Settings) -> list[Figure]:
    contestants = [
        _contestant(ALONE, FAST, EXACT_AT_RANDOM, follower=TFIDF),
        _contestant(PAIR, {**FAST, "slow": SLOW}, AT_RANDOM),
        _contestant(SLOW_ALONE, SLOW, AT_RANDOM),
        _contestant(CNN, OUR_CNN, AT_RANDOM),
        Contestant(ENSEMBLE, _config("textcat", None), build_random(), settings=AT_RANDOM),
    ]
    found = _simulate(data, contestants, settings)
    aims = {ENSEMBLE: 2.0, CNN: 1.35, TFIDF: 1.10}
    figures = [
        _ratio(f"{name}, {ours}", peer, found, ours, aim=aim if ours == PAIR else None)
        for ours in (PAIR, ALONE)
        for peer, aim in aims.items()
    ]
    worst = [
        100
        * min(
            pair.score - max(fast.score, slow.score)
            for pair, fast, slow in zip(a.checkpoints, b.checkpoints, c.checkpoints, strict=True)
        )
        for a, b, c in zip(found.of(PAIR), found.of(ALONE), found.of(SLOW_ALONE), strict=True)
    ]
    figures.append(
        Figure(
            f"{name}, {PAIR}: worst checkpoint",
            "its better half",
            worst,
            -2.0,
            unit="points",
            details=_describe(found),
        )
    )
    return figures


def _simulate(
    data: GoldData,
    contestants: Sequence[Contestant],
    settings: Settings,
    *,
    noise: Noise | None = None,
    kind: Any = "choice",
) -> Simulation:
    torch.set_num_threads(1)
    answers, seeds = (30, 2) if settings.quick else (200, 5)
    protocol = Protocol(answers=answers, seeds=seeds, noise=noise or Noise(), kind=kind)
    return simulate(data, contestants, protocol, on_run=_print)


def _print(run: Run) -> None:
    curve = [round(point.score, 2) for point in run.checkpoints[4::5]]
    print(f"   seed {run.seed}, {run.name}: area {run.area:.3f}, {curve}", flush=True)


def _contestant(
    name: str,
    model: Mapping[str, Any],
    settings: LoopSettings,
    strategy: Any = None,
    follower: str | None = None,
) -> Contestant:
    exclusive = model["exclusive_classes"]
    factory = "torch_textcat" if exclusive else "torch_textcat_multilabel"
    config = _config(factory, dict(model))
    return Contestant(
        name, config, strategy or build_random(), settings=settings, follower=follower
    )


def _config(factory: str, model: dict[str, Any] | None) -> Mapping[str, Any]:
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={} if model is None else {"model": model})
    return nlp.config


def _ratio(name: str, peer: str, found: Simulation, ours: str, *, aim: float | None) -> Figure:
    values = [a.area / b.area for a, b in zip(found.of(ours), found.of(peer), strict=True)]
    return Figure(f"{name}: area", peer, values, aim, details=_details(found, ours, peer))


def _points(
    name: str, peer: str, found: Simulation, ours: str, theirs: str, *, aim: float | None
) -> Figure:
    values = [
        100 * (a.area - b.area) for a, b in zip(found.of(ours), found.of(theirs), strict=True)
    ]
    details = _details(found, ours, theirs)
    return Figure(name, peer, values, aim, unit="points", details=details)


def _details(found: Simulation, ours: str, theirs: str) -> dict[str, Any]:
    areas = {name: [run.area for run in found.of(name)] for name in (ours, theirs)}
    difference = asdict(compare(areas[ours], areas[theirs]))
    return {
        "areas": {name: [round(area, 4) for area in one] for name, one in areas.items()},
        "difference": {key: round(value, 4) for key, value in difference.items()},
        "chance": round(found.chance, 3),
    }


def _describe(found: Simulation) -> dict[str, Any]:
    """The curves of everyone, for the plot."""
    return {
        "chance": round(found.chance, 3),
        "curves": {
            one.name: {
                "answers": list(one.answers),
                "mean": _round(one.curve),
                "low": _round(one.low),
                "high": _round(one.high),
                "calibration error": round(one.calibration_error, 4),
                "ms to learn, median and 95th percentile": _round(one.learning or ()),
            }
            for one in summarize(found)
        },
    }


def _round(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _read_banking77() -> GoldData:
    train, test = _read_banking77_golds()
    return split_gold(train, test)


def _read_banking77_golds() -> tuple[list[Gold], list[Gold]]:
    train, test = read_banking77("train"), read_banking77("test")
    names = set(keep_frequent(train, 10))
    return _to_golds(train, names), _to_golds(test, names)


def _read_sst2(settings: Settings) -> GoldData | None:
    if not (settings.data / "sst2").is_dir():
        print(f"   no folder sst2 in {settings.data}: SST-2 is left out (see --data)", flush=True)
        return None
    train, test = (read_sst2(settings.data, part) for part in ("train", "test"))
    # As many as an annotator might have at hand.
    return split_gold(_to_golds(train[:5000], {"0", "1"}), _to_golds(test[:500], {"0", "1"}))


def _to_golds(rows: Sequence[LabelledText], names: set[str]) -> list[Gold]:
    return [Gold.of(row.text, row.labels) for row in rows if row.labels[0] in names]


def _make_rare(golds: Sequence[Gold], *, share: float) -> tuple[list[Gold], str]:
    """One of the labels alone, in as many of the texts as wanted."""
    label = min(label for gold in golds for label in gold.true)
    others = [Gold(gold.task, frozenset()) for gold in golds if label not in gold.true]
    n_positive = round(share / (1 - share) * len(others))
    positive = [gold for gold in golds if label in gold.true][:n_positive]
    mixed = [*positive, *others]
    order = np.random.default_rng(0).permutation(len(mixed)).tolist()
    return [mixed[place] for place in order], label
