"""What checkpoints cost a training, and whether one that was killed goes on as it would have."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import spacy
import torch
from spacy.cli.train import train as spacy_train
from spacy.util import registry
from thinc.api import Config

from benchmarks.figures import Figure
from benchmarks.machine import one_thread_environment
from benchmarks.settings import ROOT, Settings
from benchmarks.spacy_train import convert_banking77
from spacy_torch.training.interval import Interval
from spacy_torch.training.train import train

CONFIG = ROOT / "configs" / "textcat.cfg"
KILLS = ROOT / "scripts" / "kill_and_resume.py"
LARGE = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": 128,
        "depth": 4,
        "attrs": ["NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [20000, 20000, 5000, 5000, 5000],
    },
}
MINUTE = 60.0
NEVER = 1e9


class Clock:
    """A callback of a config that notes when each step began, in seconds of the process.

    One thread works, and what else the machine does takes nothing from either side.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, nlp: Any, at: dict[str, Any]) -> None:
        """Called before each step."""
        self.times.append(process_time())

    @property
    def seconds(self) -> float:
        """From the first step to the last one."""
        return self.times[-1] - self.times[0]


def measure(settings: Settings) -> list[Figure]:
    """Writing, the steps in between, and going through the steps before a checkpoint."""
    torch.set_num_threads(1)
    n_steps, turns = (12, 1) if settings.quick else (120, 5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_banking77(folder)
        small = _write_config(folder, "small", model=None, n_steps=n_steps)
        large = _write_config(folder, "large", model=LARGE, n_steps=n_steps)
        return [
            _measure_writing("textcat.cfg", small, folder),
            _measure_writing("HashEmbedCNN", large, folder),
            _measure_steps(small, folder, turns=turns),
            _measure_replay(small, folder, n_steps=n_steps),
        ]


def measure_kills(settings: Settings) -> list[Figure]:
    """Trainings that are killed at random moments and resumed."""
    n_kills = 2 if settings.quick else 20
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_banking77(folder)
        config = _write_config(folder, "kills", model=None, n_steps=60)
        limits = ["--corpora.train.limit", "2000", "--corpora.dev.limit", "300"]
        every = ["--training.eval_frequency", "15"]
        report = folder / "report.json"
        command = [sys.executable, str(KILLS), str(config), str(folder / "runs")]
        options = ["--kills", str(n_kills), "--report", str(report), *limits, *every]
        subprocess.run([*command, *options], check=False, env=one_thread_environment())
        found = json.loads(report.read_text(encoding="utf-8"))
    return [
        Figure(
            f"{n_kills} trainings, killed in a step or in writing and resumed: same files",
            "the training that was not killed",
            [100 * found["same"] / n_kills],
            aim=100,
            unit="%",
            details=found,
        )
    ]


def _measure_writing(name: str, config: Path, folder: Path) -> Figure:
    """How much of a minute it takes to write a checkpoint."""
    costs: list[float] = []
    start = Interval.start

    def note(self: Interval, step: int, *, cost: float) -> None:
        if cost:
            costs.append(cost)
        start(self, step, cost=cost)

    output = folder / f"writing-{config.stem}"
    Interval.start = note  # type: ignore[method-assign]
    try:
        _timed(lambda: _train(config, output, steps=5))
    finally:
        Interval.start = start  # type: ignore[method-assign]
    files = (output / "checkpoint").glob("*.safetensors")
    n_parameters = _count_parameters(output / "model-last")
    return Figure(
        f"{name}, {n_parameters / 1e6:.1f}M parameters: a checkpoint a minute, share of the time",
        "-",
        [100 * cost / MINUTE for cost in costs],
        aim=2,
        better="lower",
        unit="%",
        details={
            "MB": round(sum(file.stat().st_size for file in files) / 1e6, 1),
            "seconds": round(median(costs), 3),
        },
    )


def _measure_steps(config: Path, folder: Path, *, turns: int) -> Figure:
    """The steps of `torch-train` while no checkpoint is due, against those of `spacy train`."""
    ratios: list[float] = []
    _timed(lambda: spacy_train(config, folder / "warm-up"))
    for turn in range(turns):
        ours = _timed(lambda turn=turn: _train(config, folder / f"ours-{turn}", seconds=NEVER))
        peer = _timed(lambda turn=turn: spacy_train(config, folder / f"peer-{turn}"))
        ratios.append(100 * (ours.seconds / peer.seconds - 1))
    return Figure(
        "steps of torch-train, no checkpoint due: more time than the peer's",
        "spacy train",
        ratios,
        aim=2,
        better="lower",
        unit="%",
        details={"seconds": round(ours.seconds, 2)},
    )


def _measure_replay(config: Path, folder: Path, *, n_steps: int) -> Figure:
    """Going through the steps before a checkpoint, against training them."""
    output = folder / "replay"
    trained = _timed(lambda: _train(config, output, steps=n_steps))
    (output / "finished.json").unlink()
    replayed = _timed(lambda: _train(config, output, steps=n_steps, resume=True))
    return Figure(
        f"{n_steps} steps gone through when a run is resumed",
        "training them",
        [100 * replayed.seconds / trained.seconds],
        aim=None,
        better="lower",
        unit="%",
        details={"seconds": round(replayed.seconds, 3)},
    )


def _train(config: Path, output: Path, **options: Any) -> None:
    train(config, output, **options)


def _timed(run: Callable[[], object]) -> Clock:
    clock = Clock()
    registry.callbacks.register("benchmark.clock", func=lambda: clock)
    run()
    return clock


def _write_config(folder: Path, name: str, *, model: dict[str, Any] | None, n_steps: int) -> Path:
    config = Config().from_disk(CONFIG, interpolate=False)
    config["paths"].update(train=str(folder / "train.spacy"), dev=str(folder / "dev.spacy"))
    config["corpora"]["dev"]["limit"] = 100
    config["initialize"] = {}
    config["training"].update(max_steps=n_steps, eval_frequency=n_steps)
    config["training"]["before_update"] = {"@callbacks": "benchmark.clock"}
    if model is not None:
        config["components"]["torch_textcat"]["model"] = model
    if name == "kills":
        del config["training"]["before_update"]
    path = folder / f"{name}.cfg"
    config.to_disk(path, interpolate=False)
    return path


def _count_parameters(path: Path) -> int:
    nlp = spacy.load(path)
    shims = [shim for node in nlp.get_pipe("torch_textcat").model.walk() for shim in node.shims]
    return sum(p.numel() for shim in shims for p in shim.module.parameters())
