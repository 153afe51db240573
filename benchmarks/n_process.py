"""`nlp.pipe(n_process=2)` with torch's default threads: whether it hangs, and how fast it is."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.annotate_pipeline import count_words, read_texts, save_tagger
from benchmarks.figures import Figure
from benchmarks.machine import THREAD_SETTINGS
from benchmarks.settings import ROOT, Settings

# A run that is not over after so many seconds hangs.
PATIENCE = 120


def measure(settings: Settings) -> list[Figure]:
    """Twenty runs, each forked from a process in which torch has used all its threads."""
    runs = 3 if settings.quick else 20
    texts = read_texts(settings, quick=400)[:2000]
    hangs, done = 0, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = save_tagger(Path(folder) / "model")
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts), encoding="utf-8")
        while hangs + len(done) < runs:
            before = len(done)
            done += _watch(pipeline, file, runs - hangs - len(done))
            hangs += hangs + len(done) < runs
            if len(done) == before and hangs > 2:
                hangs = runs - len(done)  # it does nothing else
    words = count_words(texts)
    ratios = [run["alone"] / run["shared"] for run in done]
    speeds = {name: [round(words / run[name]) for run in done] for name in ("shared", "alone")}
    return [
        Figure(
            f"n_process=2, {runs} runs: hangs",
            "-",
            [hangs],
            aim=0,
            better="lower",
            unit="hangs",
            details={"torch threads": [run["threads"] for run in done[:1]]},
        ),
        Figure(
            f"n_process=2, {runs} runs: documents that differ",
            "n_process=1",
            [run["different"] for run in done],
            aim=0,
            better="lower",
            unit="documents",
            details={"documents": len(texts)},
        ),
        Figure(
            "n_process=2, words a second",
            "n_process=1, default threads",
            ratios,
            aim=None,
            details={"words a second": speeds},
        ),
    ]


def _watch(pipeline: Path, file: Path, runs: int) -> Iterator[dict[str, Any]]:
    """What each run says, until one says nothing for too long."""
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_SETTINGS}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.n_process_probe", str(pipeline), str(file), str(runs)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(PATIENCE):
                line = process.stdout.readline()
                if not line:
                    break
                yield json.loads(line)
    finally:
        if process.poll() is None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode > 0:
        raise RuntimeError(f"the probe failed with {process.returncode}")
