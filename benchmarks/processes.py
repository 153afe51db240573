"""What one, two and three processes learn, and how fast."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import spacy
from spacy.language import Language

from benchmarks.english_ewt import convert_ewt
from benchmarks.figures import Figure
from benchmarks.run_processes import build_config, by_words, finish, train_processes
from benchmarks.settings import Settings

# Small enough that no step, of a loss summed over a batch, overshoots: rounding would grow then.
# From some ten steps on it grows all the same, whatever the number of processes: in float64 they
# stay together, and one process alone comes as far from itself if its tables begin 1e-8 away.
# Seen unit by unit, sums in another order first let a maxout choose, for one token, the other of
# two pieces that are equal up to rounding. The difference grows fastest in the biases of the first
# convolution: they alone are the vector of the padding between sentences, as in spaCy, and the
# norm makes one of 0.002 five hundred times as large. A piece of all padding flips at once then.
SGD = {"@optimizers": "SGD.v1", "learn_rate": 1e-5, "L2": 0.0, "grad_clip": 0.0}
ADAM = {"@optimizers": "Adam.v1", "learn_rate": 0.001}
SMALL = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "dropout": 0.0}
# 7.6 million parameters.
LARGE = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": 256,
    "depth": 3,
    "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
    "rows": [10000, 3000, 4000, 2700],
}
# Batch in words -> steps that are timed, and how many times as fast two processes should be.
BATCHES = {8000: (10, 1.7), 2000: (30, 1.3)}
WARM_UP = 2
STEPS = 61

# By the number of processes, or by what else is to be said of them.
Trained = Mapping[int | str, Language]


def measure_equality(settings: Settings) -> list[Figure]:
    """The same batches of UD English EWT by one, two and three processes, without dropout."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_ewt(settings, folder)

        def train(optimizer: dict[str, Any], change: str | None = None) -> Trained:
            return {
                size: _train(folder, settings, optimizer, size=size, change=change)
                for size in (1, 2, 3)
            }

        double = train(SGD, "double")
        figures = _compare_parameters(f"SGD in float64, {STEPS} steps", double, aim=1e-6)
        trained = train(SGD)
        figures += _compare_parameters(f"SGD, {STEPS} steps", trained, aim=None)
        nudged = _train(folder, settings, SGD, size=1, change="nudge")
        pair = {1: trained[1], "1 process that began 1e-8 away": nudged}
        figures += _compare_parameters(f"SGD, {STEPS} steps", pair, aim=None)
        figures += _compare_scores(f"Adam, {STEPS} steps", train(ADAM))
    return figures


def _train(
    folder: Path,
    settings: Settings,
    optimizer: dict[str, Any],
    *,
    size: int,
    change: str | None,
) -> Language:
    """The pipeline that so many processes have trained.

    Args:
        change: a callback of `training_notes` that changes the module before the first step.
    """
    steps = 6 if settings.quick else STEPS
    config = build_config(
        _tagger(SMALL),
        folder,
        optimizer=optimizer,
        dropout=0.0,
        batcher=by_words(500 if settings.quick else 2000),
        before_update=change and {"@callbacks": f"benchmarks.{change}.v1"},
        max_steps=steps,
        eval_frequency=steps - 1,
    )
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        config.to_disk(place / "config.cfg")
        finish(train_processes(place / "config.cfg", place / "out", size=size))
        return spacy.load(place / "out" / "model-last")


def _compare_parameters(title: str, trained: Trained, *, aim: float | None) -> list[Figure]:
    one, *others = trained
    return [
        Figure(
            f"processes, {title}, {_in_words(other)}: largest difference of a parameter",
            "1 process",
            [largest_difference(trained[one], trained[other])],
            aim=aim,
            better="lower",
            unit="",
            details={"TAG": _scores(trained)},
        )
        for other in others
    ]


def _compare_scores(title: str, trained: Trained) -> list[Figure]:
    scores = _scores(trained)
    one, *others = trained
    return [
        Figure(
            f"processes, {title}, {_in_words(other)}: difference of TAG",
            "1 process",
            [abs(scores[other] - scores[one]) * 100],
            aim=0.1,
            better="lower",
            unit="points",
            details={
                "TAG": scores,
                "largest difference of a parameter": largest_difference(
                    trained[one], trained[other]
                ),
            },
        )
        for other in others
    ]


def _in_words(size: int | str) -> str:
    return f"{size} processes" if isinstance(size, int) else size


def _scores(trained: Trained) -> dict[int | str, float]:
    return {size: nlp.meta["performance"]["tag_acc"] for size, nlp in trained.items()}


def measure_speed(settings: Settings) -> list[Figure]:
    """Two processes with one thread each in turns with one, on UD English EWT."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_ewt(settings, folder)
        for n_words, (n_steps, aim) in BATCHES.items():
            steps = 2 if settings.quick else n_steps
            size = 300 if settings.quick else n_words
            seconds: dict[int, list[float]] = {2: [], 1: []}
            for turn in range(1 if settings.quick else 3):
                for n, found in seconds.items():
                    place = folder / f"{n_words}-{turn}-{n}"
                    place.mkdir()
                    found.append(_time_training(place, folder, n, size=size, steps=steps))
            figures.append(
                Figure(
                    f"processes, 7.6M parameters, batches of {n_words:,} words: 2 processes",
                    "1 process",
                    [one / two for one, two in zip(seconds[1], seconds[2], strict=True)],
                    aim=aim,
                    details={"seconds a step": {n: median(s) / steps for n, s in seconds.items()}},
                )
            )
    return figures


def _time_training(place: Path, corpus: Path, n: int, *, size: int, steps: int) -> float:
    """The seconds from the step after the warm-up to the last one, as seen by the first process."""
    times = place / "times"
    config = build_config(
        _tagger(LARGE),
        corpus,
        optimizer=ADAM,
        batcher=by_words(size),
        before_update={"@callbacks": "benchmarks.note_times.v1", "file": str(times)},
        max_steps=WARM_UP + steps + 1,
        eval_frequency=10**6,
    )
    config["corpora"]["dev"]["limit"] = 2  # looked at before the first step
    config.to_disk(place / "config.cfg")
    finish(train_processes(place / "config.cfg", place / "out", size=n))
    began = dict(line.split() for line in times.read_text().splitlines())
    return float(began[str(WARM_UP + steps)]) - float(began[str(WARM_UP)])


def _tagger(encoder: dict[str, Any]) -> dict[str, dict[str, Any]]:
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    return {"torch_tagger": {"model": model}}


def largest_difference(first: Language, second: Language) -> float:
    """Of any parameter of two pipelines' modules."""
    from spacy_torch.bridge.model import find_shims

    found = 0.0
    for name in first.pipe_names:
        shims = [find_shims(nlp.get_pipe(name).model) for nlp in (first, second)]  # type: ignore[attr-defined]
        for one, other in zip(*shims, strict=True):
            others = dict(other.module.named_parameters())
            for key, value in one.module.named_parameters():
                found = max(found, float((value - others[key]).detach().abs().max()))
    return found
