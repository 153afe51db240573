"""Ray Data, Spark and Dask, as they are, with two workers each."""

import json
from pathlib import Path

import pytest
from programs import run_python
from tiny_annotator import make_texts

HERE = Path(__file__).parent
RECORDS = [{"id": i, "text": text} for i, text in enumerate(make_texts(120))]
RECORDS[17]["text"] = "BAD"
KILLING = [{**r, "text": f"{r['text']} KILL"} if r["id"] == 64 else r for r in RECORDS]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["ray", "spark", "dask"])
def answer(request, tmp_path_factory):
    """The rows of an engine and of this process, for both jobs, and what workers left."""
    folder = tmp_path_factory.mktemp(request.param)
    alone = run_program("alone", folder)  # makes the pipeline
    for path in (folder / "troubles").iterdir():
        path.unlink()
    found = run_program(request.param, folder)
    left = {path.name for path in (folder / "troubles").iterdir()}
    return found, alone, left


def run_program(engine, folder):
    """The rows of both jobs, by their ids. It has five minutes; what it started ends with it."""
    output = run_python(
        [HERE / "engines.py", engine, folder / "model", folder / "troubles"],
        folder,
        given=json.dumps([RECORDS, KILLING]),
        PYTHONPATH=str(HERE.parent),
    )
    return [sorted(rows) for rows in json.loads(output.splitlines()[-1])]


def test_every_document_comes_once_and_as_from_one_process(answer):
    (undisturbed, _), (alone, _), _ = answer
    assert len(undisturbed) == 120
    assert undisturbed == alone
    assert undisturbed[17][2:] == [None, "ValueError: cannot read BAD"]


def test_worker_that_is_killed_changes_nothing(answer):
    (_, killed), (_, alone), left = answer
    assert "killed" in left
    assert killed == alone


def test_another_worker_took_over_from_the_killed_one(answer):
    _, _, left = answer
    assert len([name for name in left if name.endswith(".worker")]) >= 2
