"""Callbacks of a training that note steps and what each rank learned, kill, or change numbers.

Given to `torch-train` as `--code`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language
from spacy.util import registry

from spacy_torch.bridge.model import find_shims
from spacy_torch.bridge.shim import TorchShim

BeforeUpdate = Callable[[Language, dict[str, Any]], None]


@registry.callbacks("benchmarks.note_times.v1")
def build_note_times(file: str) -> BeforeUpdate:
    """Writes down the moment before each step of the first process."""

    def note(nlp: Language, at: dict[str, Any]) -> None:
        if _rank() == 0:
            with Path(file).open("a") as opened:
                opened.write(f"{at['step']} {time.perf_counter()}\n")

    return note


@registry.callbacks("benchmarks.double.v1")
def build_double() -> BeforeUpdate:
    """Lets modules calculate in float64 from the first step on."""

    def double(nlp: Language, at: dict[str, Any]) -> None:
        for shim in _shims(nlp) if at["step"] == 0 else ():
            shim.module.double()

    return double


@registry.callbacks("benchmarks.nudge.v1")
def build_nudge() -> BeforeUpdate:
    """Moves each weight of the embedding tables by at most 1e-8, at random, before all steps."""

    def nudge(nlp: Language, at: dict[str, Any]) -> None:
        for shim in _shims(nlp) if at["step"] == 0 else ():
            draws = torch.Generator().manual_seed(0)
            for name, table in shim.module.named_parameters():
                if name.endswith(".table"):
                    move = torch.rand(table.shape, generator=draws).mul_(2e-8).sub_(1e-8)
                    table.data.add_(move)

    return nudge


def _shims(nlp: Language) -> list[TorchShim]:
    pipes: list[Any] = [pipe for _, pipe in nlp.pipeline]
    return [shim for pipe in pipes for shim in find_shims(pipe.model)]


@registry.callbacks("benchmarks.note_and_kill.v1")
def build_note_and_kill(folder: str) -> BeforeUpdate:
    """Writes down which texts are learned from, and kills this process where a plan says so.

    The file `kills.json` in the folder holds `{"rank", "step", "while"}`s; each happens once,
    when the step is come to first. Its "while" is "training", or "writing" a checkpoint.
    """
    place = Path(folder)
    noted: dict[str, Any] = {}

    def before_update(nlp: Language, at: dict[str, Any]) -> None:
        if not noted:
            _note_updates(nlp, noted, place)
        noted["at"] = dict(at)
        for number, kill in enumerate(json.loads((place / "kills.json").read_text())):
            if kill["rank"] == _rank() and kill["step"] == at["step"] and _claim(place, number):
                if kill["while"] == "training":
                    os.kill(os.getpid(), signal.SIGKILL)
                threading.Thread(target=_kill_while_writing, args=(place,), daemon=True).start()

    return before_update


def _note_updates(nlp: Language, noted: dict[str, Any], folder: Path) -> None:
    update = nlp.update
    attempt = f"{time.time():.3f}.{os.getpid()}"

    def update_noted(examples: Any, *args: Any, **settings: Any) -> Any:
        at = noted["at"]
        with (folder / f"learned.{attempt}.{_rank()}").open("a") as file:
            for example in examples:
                text = zlib.crc32(example.text.encode())
                file.write(f"{at['step']} {at['epoch']} {text}\n")
        return update(examples, *args, **settings)

    nlp.update = update_noted  # type: ignore[method-assign]


def _claim(folder: Path, number: int) -> bool:
    """Whether nobody has done this yet."""
    try:
        (folder / f"killed.{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _kill_while_writing(folder: Path) -> None:
    unfinished = folder / "out" / "checkpoint.unfinished"
    while not unfinished.exists():
        time.sleep(0.0002)
    time.sleep(random.Random(time.time()).uniform(0.0, 0.01))
    os.kill(os.getpid(), signal.SIGKILL)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
