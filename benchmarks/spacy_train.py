"""Whole runs of `spacy train` on BANKING77, each in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import spacy
from spacy.training import Corpus
from thinc.api import Config

from benchmarks.corpus import BANKING77
from benchmarks.machine import one_thread_environment
from benchmarks.pipelines import measure_accuracy

# The first columns of a line of spaCy's log: epoch and step.
EVALUATION = re.compile(r"^\s*\d+\s+(\d+)\s+\d")


@dataclass(frozen=True)
class Evaluation:
    """The dev score at a step, and when it was known, in seconds from the process's start."""

    seconds: float
    step: int
    score: float


@dataclass(frozen=True)
class Scores:
    """What a pipeline reaches on a corpus."""

    accuracy: float
    macro_f: float


def convert_banking77(folder: Path) -> None:
    """Write train.spacy, dev.spacy (a tenth of the training texts) and test.spacy."""
    split = ["--dev-split", "0.1", "--seed", "0"]
    for part, options in (("train", split), ("test", [])):
        _run_spacy(
            "torch-convert",
            str(BANKING77 / f"{part}.csv"),
            str(folder / f"{part}.spacy"),
            "--label",
            "category",
            *options,
        )


def run_spacy_train(config: Config, corpus: Path, output: Path) -> list[Evaluation]:
    """Train with plain `spacy train` and give the evaluations in their order.

    Args:
        config: a training config; its paths and its logger are set here.
        corpus: the folder of `convert_banking77`.
        output: a folder for the pipelines and the log; must not exist yet.

    Raises:
        RuntimeError: the training failed; with the end of its output.
    """
    output.mkdir(parents=True)
    log = output / "log.jsonl"
    config = config.copy()
    config["paths"].update(train=str(corpus / "train.spacy"), dev=str(corpus / "dev.spacy"))
    if "output" in config["paths"]:
        config["paths"]["output"] = str(output)
    config["training"]["logger"] = {
        "@loggers": "spacy.ConsoleLogger.v3",
        "progress_bar": None,
        "console_output": True,
        "output_file": str(log),
    }
    config.to_disk(output / "config.cfg")
    steps, seconds = _train(output)
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if [entry["step"] for entry in entries] != steps:
        raise RuntimeError(f"The log has other steps than were printed ({steps}): see {log}")
    return [
        Evaluation(when, entry["step"], entry["score"])
        for when, entry in zip(seconds, entries, strict=True)
    ]


def score_pipeline(pipeline: Path, corpus: Path) -> Scores:
    """Evaluate a saved pipeline on a `.spacy` file."""
    nlp = spacy.load(pipeline)
    examples = list(Corpus(corpus)(nlp))
    macro_f = nlp.evaluate(examples)["cats_macro_f"]
    examples = list(Corpus(corpus)(nlp))
    return Scores(measure_accuracy(nlp, examples), macro_f)


def _train(output: Path) -> tuple[list[int], list[float]]:
    """The steps that were evaluated, and when each line appeared."""
    command = [sys.executable, "-m", "spacy", "train", str(output / "config.cfg")]
    steps: list[int] = []
    seconds: list[float] = []
    lines: list[str] = []
    start = perf_counter()
    with subprocess.Popen(
        [*command, "--output", str(output)],
        env=one_thread_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            found = EVALUATION.match(line)
            if found:
                steps.append(int(found[1]))
                seconds.append(perf_counter() - start)
                print(f"   {line.rstrip()}", flush=True)
    if process.returncode:
        raise RuntimeError(f"spacy train ended with {process.returncode}:\n{''.join(lines[-30:])}")
    return steps, seconds


def _run_spacy(*arguments: str) -> Any:
    command = [sys.executable, "-m", "spacy", *arguments]
    return subprocess.run(command, check=True, env=one_thread_environment())
