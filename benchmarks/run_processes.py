"""Runs of `torch-train` by one or more processes on this machine, as a user would start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from thinc.api import Config

from benchmarks.settings import ROOT

# Imported by every process with --code; the callbacks that the configs name are registered there.
CODE = ROOT / "benchmarks" / "training_notes.py"


def build_config(
    pipes: dict[str, dict[str, Any]], corpus: Path, *, gold: bool = True, **training: Any
) -> Config:
    """The config of a training on the train.spacy and dev.spacy of a folder.

    Args:
        pipes: factory -> its settings.
        gold: whether to take the tokens and sentences from the corpora.
        training: settings of [training].
    """
    nlp = spacy.blank("en")
    for factory, settings in pipes.items():
        nlp.add_pipe(factory, config=settings)
    config = Config(nlp.config.copy())
    for part in ("train", "dev"):
        config["corpora"][part] = {
            "@readers": "spacy.Corpus.v1",
            "path": str(corpus / f"{part}.spacy"),
            "gold_preproc": gold,
        }
    config["training"].update({"patience": 0, "max_epochs": 0, **training})
    return config


def by_words(size: int) -> dict[str, Any]:
    """Batches of so many words."""
    return {
        "@batchers": "spacy.batch_by_words.v1",
        "size": size,
        "tolerance": 0.2,
        "discard_oversize": False,
    }


def train_processes(
    config: Path, output: Path, *, size: int, options: Sequence[str] = (), restarts: int = 0
) -> subprocess.Popen[str]:
    """Start a training; with one process and no restarts, without a launcher."""
    launcher = ["-m"]
    if size > 1 or restarts:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size),
                    "--max-restarts", str(restarts), "-m"]  # fmt: skip
    command = [sys.executable, *launcher, "spacy", "torch-train", str(config), "-o", str(output),
               "--code", str(CODE), *options]  # fmt: skip
    # A group of its own, to be killed as a whole.
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], *, seconds: float = 900.0) -> str:
    """Wait for a training; what it printed.

    Raises:
        RuntimeError: it failed.
    """
    printed, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise RuntimeError(f"the training ended with {process.returncode}:\n{printed[-3000:]}")
    return printed
