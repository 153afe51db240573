"""The CSV file of a training, also when that is killed and resumed."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.training.csv_log import CsvLog


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def steps_of(path):
    return [int(row["step"]) for row in read(path)]


def test_resumed_run_replaces_the_steps_that_it_makes_again(tmp_path):
    path = tmp_path / "log.csv"
    killed = CsvLog(path)
    for step in (0, 10, 20, 30):
        killed.write({"step": step, "run": "first"})
    resumed = CsvLog(path)
    for step in (20, 30, 40):
        resumed.write({"step": step, "run": "second"})
    rows = [(row["step"], row["run"]) for row in read(path)]
    assert rows == [
        *(("0", "first"), ("10", "first")),
        *(("20", "second"), ("30", "second"), ("40", "second")),
    ]


def test_run_that_begins_again_keeps_the_older_file(tmp_path):
    path = tmp_path / "log.csv"
    for run in ("first", "second", "third"):
        log = CsvLog(path)
        log.write({"step": 0, "run": run})
        log.write({"step": 10, "run": run})
    assert [row["run"] for row in read(path)] == ["third", "third"]
    assert [row["run"] for row in read(tmp_path / "log.1.csv")] == ["first", "first"]
    assert [row["run"] for row in read(tmp_path / "log.2.csv")] == ["second", "second"]
    assert sorted(tmp_path.iterdir()) == sorted(
        tmp_path / name for name in ("log.csv", "log.1.csv", "log.2.csv")
    )


def test_opening_a_log_changes_nothing_before_the_first_row(tmp_path):
    path = tmp_path / "log.csv"
    CsvLog(path).write({"step": 0})
    before = path.read_bytes()
    CsvLog(path)
    assert path.read_bytes() == before


def test_row_that_was_not_written_to_its_end_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,score,note\n0,0.5,a\n10,0.\n")
    CsvLog(path).write({"step": 20, "score": 0.7, "note": "b"})
    assert [tuple(row.values()) for row in read(path)] == [("0", "0.5", "a"), ("20", "0.7", "b")]


def test_column_that_comes_later_is_empty_before(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path)
    log.write({"step": 0, "score": 0.5})
    log.write({"step": 10, "score": None, "skipped": 3})
    log.write({"step": 20})
    assert [tuple(row.values()) for row in read(path)] == [
        *(("0", "0.5", ""), ("10", "", "3"), ("20", "", "")),
    ]


def test_empty_file_is_a_log_without_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    CsvLog(path).write({"step": 10})
    assert steps_of(path) == [10]


@given(
    # Of each run: the place among the evaluations where it begins, and how many it makes.
    runs=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=5)
)
def test_every_step_has_one_row_and_that_of_the_last_run_to_make_it(runs):
    expected = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        for number, (begin, n_steps) in enumerate(runs):
            log = CsvLog(path)
            expected = {step: run for step, run in expected.items() if step < begin}
            for step in range(begin, begin + n_steps):
                # A new column in every run, too.
                log.write({"step": step, "run": number, f"only_{number}": number})
                expected[step] = number
        rows = read(path)
    assert {int(row["step"]): int(row["run"]) for row in rows} == expected
    assert [int(row["step"]) for row in rows] == sorted(expected)
    assert all(row[f"only_{row['run']}"] == row["run"] for row in rows)
