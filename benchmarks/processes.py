"""What one, two and three processes learn, and how fast."""

from __future__ import annotations

import tempfile
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
# After some ten steps it does so all the same, in jumps: probably where sums in another order make
# a maxout choose another of two pieces that are all but equal.
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


def measure_equality(settings: Settings) -> list[Figure]:
    """The same batches of UD English EWT by one, two and three processes, without dropout."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_ewt(settings, folder)
        for name, optimizer, steps in (("SGD", SGD, 10), ("SGD", SGD, 61), ("Adam", ADAM, 61)):
            if settings.quick:
                steps = min(steps, 6)
            config = build_config(
                _tagger(SMALL),
                folder,
                optimizer=optimizer,
                dropout=0.0,
                batcher=by_words(500 if settings.quick else 2000),
                max_steps=steps,
                eval_frequency=steps - 1,
            )
            path = folder / f"{name}-{steps}.cfg"
            config.to_disk(path)
            trained = {}
            for size in (1, 2, 3):
                output = folder / f"{path.stem}-{size}"
                finish(train_processes(path, output, size=size))
                trained[size] = spacy.load(output / "model-last")
            figures += [_compare(name, trained, size, steps) for size in (2, 3)]
    return figures


def _compare(name: str, trained: dict[int, Language], size: int, steps: int) -> Figure:
    title = f"processes, {name}, {steps} steps, {size} processes"
    scores = {n: nlp.meta["performance"]["tag_acc"] for n, nlp in trained.items()}
    largest = largest_difference(trained[1], trained[size])
    details = {"TAG": scores, "largest difference of a parameter": largest}
    if name == "SGD":
        return Figure(
            f"{title}: largest difference of a parameter",
            "1 process",
            [largest],
            aim=1e-6 if steps <= 10 else None,
            better="lower",
            unit="",
            details=details,
        )
    return Figure(
        f"{title}: difference of TAG",
        "1 process",
        [abs(scores[size] - scores[1]) * 100],
        aim=0.1,
        better="lower",
        unit="points",
        details=details,
    )


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
