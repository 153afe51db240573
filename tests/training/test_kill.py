"""Trainings that are killed by force, in a step or while they write, end as if they were not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import LISTENER, STOCK_TAGGER, TOK2VEC, make_config, write_corpora

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_and_resume.py"
PIPES = {
    "tok2vec": {"model": TOK2VEC},
    "tagger": {"model": {**STOCK_TAGGER, "tok2vec": LISTENER}},
}


@pytest.mark.slow
def test_killed_runs_end_as_the_undisturbed_one(tmp_path):
    write_corpora(tmp_path)
    config = make_config(tmp_path, PIPES)
    report = tmp_path / "report.json"
    runs = [config, tmp_path / "runs", "--kills", 4, "--checkpoint-steps", 3, "--report", report]
    command = [sys.executable, SCRIPT, *runs, "--training.max_steps", 9]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["same"] == 4
    assert found["counts"]["update"] == 10
    assert {run["killed in"] for run in found["runs"]} == {"update", "write"}
