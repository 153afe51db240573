"""The report: its numbers are those of the runs, and the page needs nothing beside it."""

import csv
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gold import make_data

from spacy_torch.annotation.curve_plot import Curve, draw_curves, find_ticks
from spacy_torch.annotation.report import draw_simulation, make_report, write_report
from spacy_torch.annotation.simulation import Checkpoint, Protocol, Run, Simulation
from spacy_torch.annotation.summary import compare_first, find_best, say, summarize, write_csv

DATA = make_data()
ASKED, OTHER, PASSED = DATA.pool[0], DATA.pool[1], DATA.pool[2]


def make_run(name, seed, scores, answered=(), learning=0.0):
    points = [
        Checkpoint(10 * number, score, 0.1, number, asking=learning / 2, learning=learning)
        for number, score in enumerate(scores, start=1)
    ]
    return Run(name, seed, points, answered)


def answer(gold, **kwargs):
    options = [{"id": label, "text": label} for label in DATA.labels]
    return {**gold.task, "options": options, "meta": {"score": 0.61}, "answer": "accept", **kwargs}


def make_simulation(ceiling=None, seeds=2, **kwargs):
    (true,) = ASKED.true
    answered = [
        answer(ASKED, accept=[true]),
        answer(OTHER, accept=sorted({"POS", "NEG"} - OTHER.true)),
        answer(PASSED, answer="ignore"),
        {**ASKED.task, "label": true, "meta": {"score": 0.2}, "answer": "reject"},
    ]
    runs = [
        make_run("ours <b>", 0, [0.5, 0.7, 0.9], answered, 0.02),
        make_run("ours <b>", 1, [0.6, 0.8, 0.9], (), 0.04),
        make_run("theirs", 0, [0.5, 0.6, 0.7, 0.8]),
        make_run("theirs", 1, [0.4, 0.5, 0.6]),
    ]
    return Simulation(DATA, Protocol(seeds=seeds, **kwargs), runs, ceiling)


def test_a_summary_is_counted_from_the_runs():
    ours, theirs = summarize(make_simulation())
    assert list(ours.answers) == [10, 20, 30]
    assert ours.curve == pytest.approx([0.55, 0.75, 0.9])
    assert ours.area == pytest.approx((0.7 + 0.7667) / 2, abs=1e-4)
    assert ours.area_interval == pytest.approx((0.7, 0.7667), abs=1e-4)
    assert (ours.low[0], ours.high[0]) == (0.5, 0.6)
    # Of the best mean score, 0.9: 0.72, 0.81 and 0.855.
    assert ours.to_target == {0.8: 20, 0.9: 30, 0.95: 30}
    assert theirs.to_target == {0.8: None, 0.9: None, 0.95: None}
    assert ours.n_found == 3
    assert ours.learning == pytest.approx((30, 40))
    assert theirs.learning is None
    assert theirs.curve == pytest.approx([0.45, 0.55, 0.65])  # as far as both sessions went


def test_targets_are_shares_of_the_ceiling_if_there_is_one():
    assert find_best(make_simulation()) == pytest.approx(0.9)
    found = make_simulation(ceiling=0.6)
    assert find_best(found) == 0.6
    assert summarize(found)[1].to_target == {0.8: 20, 0.9: 20, 0.95: 30}


def test_it_says_who_lost():
    found = make_simulation()
    (difference,) = compare_first(found).values()
    assert difference.mean == pytest.approx(0.7333 - 0.575, abs=1e-4)
    assert say(found)[0].startswith("Ours <b> is better than theirs: +0.158 in area")
    turned = Simulation(DATA, found.protocol, found.runs[::-1])
    assert say(turned)[0].startswith("Theirs loses against ours <b>: -0.158")
    same = Simulation(DATA, Protocol(seeds=5), [make_run("a", 0, [0.5]), make_run("b", 0, [0.5])])
    assert say(same) == [
        "No difference between a and b can be shown: +0.000 in area (95 % interval +0.000 to "
        "+0.000; 0 wins, 1 ties, 0 losses)."
    ]
    assert "These are 2 seeds" in say(found)[-1]


def test_the_page_is_well_formed_and_loads_nothing(tmp_path):
    path = tmp_path / "folder" / "report.html"
    write_report(make_simulation(ceiling=0.95), path, title="A & B")
    page = path.read_text(encoding="utf8")
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert not parser.names & {"script", "link", "img", "iframe", "object"}
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert "<title>A &amp; B</title>" in page
    assert "ours &lt;b&gt;" in page
    assert "<b>" not in page
    assert "the whole pool answered" in page


def test_the_last_questions_show_what_was_said_and_what_is_true():
    page = make_report(make_simulation())
    rows = re.findall(r"<tr>(.*?)</tr>", page.split("The last questions")[1])[1:]
    cells = [[re.sub("<.*?>", "", cell) for cell in row.split("</td>")[:-1]] for row in rows]
    (true,) = ASKED.true
    wrong = "POS" if OTHER.true == {"NEG"} else "NEG"
    assert [row[1:] for row in cells] == [
        ["0.20", f"{true}?", "reject", true],
        ["0.61", "which label?", "ignore", *PASSED.true],
        ["0.61", "which label?", wrong, *OTHER.true],
        ["0.61", "which label?", true, true],
    ]
    colours = [re.findall('class="text (good|bad|soft)"', row) for row in rows]
    assert colours == [["bad"], ["soft"], ["bad"], ["good"]]


def test_every_checkpoint_is_in_the_table(tmp_path):
    path = tmp_path / "folder" / "runs.csv"
    write_csv(make_simulation(), path)
    with path.open(encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert rows[0] == {
        "name": "ours <b>", "seed": "0", "answers": "10", "score": "0.50000",
        "calibration_error": "0.10000", "found": "1", "asking_seconds": "0.0100",
        "learning_seconds": "0.0200",
    }  # fmt: skip


def points_of(svg, tag):
    root = ElementTree.fromstring(svg)
    found = root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    return [
        [tuple(map(float, pair.split(","))) for pair in one.get("points").split()] for one in found
    ]


def test_lines_lie_inside_their_bands_and_time_only_stretches_the_axis():
    found = make_simulation()
    svg = draw_simulation(found)
    lines, bands = points_of(svg, "polyline"), points_of(svg, "polygon")
    assert [len(line) for line in lines] == [3, 3]
    for line, band in zip(lines[::-1], bands, strict=True):  # the first is drawn on top
        high, low = band[:3], band[:2:-1]
        for (x, y), (_, top), (_, bottom) in zip(line, high, low, strict=True):
            assert top <= y <= bottom  # downwards on the screen
            assert 0 < x < 760
    minutes = draw_simulation(found, seconds=60)
    assert points_of(minutes, "polyline") == lines  # 10 answers, 10 minutes
    assert "minutes, at 60 seconds an answer" in minutes


def test_a_plot_needs_points():
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_curves([Curve("a", [], [], [], [])], x_label="x", y_label="y")


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_ticks_are_round_and_enclose_what_is_drawn(low, width):
    ticks = find_ticks(low, low + width)
    tolerance = 1e-6 * max(abs(low), width, 1)
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= low + width - tolerance
    assert 2 <= len(ticks) <= 9
    steps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert max(steps) - min(steps) <= tolerance


class Tags(HTMLParser):
    """Elements that were opened and not closed."""

    VOID = frozenset({"meta", "input", "line", "rect"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.names = set()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
