import json

import pytest

from benchmarks.figures import Figure, speed_figure
from benchmarks.results import format_table, read_results, write_row
from benchmarks.timing import Timing, take_turns


def test_the_two_programs_take_turns():
    turns = []

    timing = take_turns(
        lambda turn: turns.append(("ours", turn)),
        lambda turn: turns.append(("peer", turn)),
        turns=2,
        warm_up=1,
    )

    expected = [(0, "ours"), (0, "peer"), (0, "ours"), (0, "peer"), (1, "ours"), (1, "peer")]
    assert turns == [(name, turn) for turn, name in expected]
    assert len(timing.ours) == len(timing.peer) == 2


def test_a_ratio_is_taken_turn_by_turn():
    figure = speed_figure("step", "peer", Timing(ours=[1, 2, 1], peer=[2, 6, 10]), aim=3)

    assert figure.values == [2, 3, 10]
    assert figure.to_dict()["median"] == 3
    assert figure.met


@pytest.mark.parametrize(
    ("values", "better", "met"),
    [
        ([0.5], "lower", True),
        ([0.7], "lower", False),
        ([0.7], "higher", True),
        ([], "higher", False),
    ],
)
def test_an_aim_is_met_by_the_median_in_its_direction(values, better, met):
    assert Figure("memory", "peer", values, aim=0.6, better=better).met is met


def test_a_row_is_put_beside_those_measured_before(tmp_path):
    path = tmp_path / "assets" / "results.json"
    write_row(path, "first", [Figure("one", "peer", [1.0], aim=2.0)], quick=False)
    write_row(path, "second", [Figure("two", "peer", [3.0], aim=2.0)], quick=False)
    write_row(path, "first", [Figure("three", "peer", [2.5], aim=2.0)], quick=False)

    rows = read_results(path)["rows"]
    assert {row: rows[row]["figures"][0]["name"] for row in rows} == {
        "first": "three",
        "second": "two",
    }
    assert json.loads(path.read_text(encoding="utf-8"))["rows"] == rows


def test_the_table_says_what_falls_short(tmp_path):
    path = tmp_path / "results.json"
    never = Figure("time", "peer", [], aim=8.0)
    write_row(path, "row", [Figure("step", "peer", [1.5], aim=2.0), never], quick=False)

    table = format_table(read_results(path), ["row", "not measured"]).splitlines()

    assert table[2].split() == ["step", "peer", ">=", "2", "1.5", "1.5", "-", "1.5", "NO"]
    assert table[3].split() == ["time", "peer", ">=", "8", "not", "reached", "NO"]
