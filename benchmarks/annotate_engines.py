"""Whether Ray, Spark and Dask give every document once, also if a worker is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.annotate_pipeline import read_texts
from benchmarks.figures import Figure
from benchmarks.settings import ROOT, Settings

PEER = "1 process"
# Seconds for both jobs of one engine.
PATIENCE = 900

Row = list[Any]


def measure(settings: Settings) -> list[Figure]:
    """The program of the tests, on the texts of BANKING77: one document in the middle kills."""
    texts = read_texts(settings, quick=120)
    undisturbed = [{"id": number, "text": text} for number, text in enumerate(texts)]
    middle = len(texts) // 2
    killing = [
        {**record, "text": f"{record['text']} KILL"} if record["id"] == middle else record
        for record in undisturbed
    ]
    return [
        figure
        for engine in ("ray", "spark", "dask")
        for figure in _measure_engine(engine, [undisturbed, killing])
    ]


def _measure_engine(engine: str, jobs: list[list[dict[str, Any]]]) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        pipeline, troubles = Path(folder) / "model", Path(folder) / "troubles"
        alone = json.loads(_run("alone", pipeline, jobs, troubles))
        (troubles / "killed").unlink()  # made before, so that this process was not killed
        found = json.loads(_run(engine, pipeline, jobs, troubles))
        was_killed = (troubles / "killed").exists()
    details = {"documents": len(jobs[0])}
    return [
        Figure(
            f"annotate_engines, {engine}, {what}: documents missing, twice or different",
            PEER,
            [_count_wrong(rows, expected) if is_real else len(rows)],
            aim=0,
            better="lower",
            unit="documents",
            details=details,
        )
        for what, rows, expected, is_real in [
            ("undisturbed", found[0], alone[0], True),
            ("a worker killed", found[1], alone[1], was_killed),
        ]
    ]


def _run(engine: str, pipeline: Path, jobs: list[list[dict[str, Any]]], troubles: Path) -> str:
    command = [sys.executable, str(ROOT / "tests" / "inference" / "engines.py"), engine]
    done = subprocess.run(
        [*command, str(pipeline), str(troubles)],
        input=json.dumps(jobs),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests"),
            "PYSPARK_PYTHON": sys.executable,
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout.splitlines()[-1]


def _count_wrong(found: list[Row], expected: list[Row]) -> int:
    """How many ids do not come exactly once with what is expected."""
    by_id: dict[int, list[Row]] = {}
    for row in found:
        by_id.setdefault(row[0], []).append(row)
    right = sum(by_id.pop(row[0], None) == [row] for row in expected)
    return len(expected) - right + len(by_id)
