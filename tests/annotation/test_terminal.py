"""Annotating by lines of text, breaking off at any moment, and going on."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import fixed_detector  # noqa: F401  (registers it)
import numpy as np
import pytest
import spacy
from spacy.cli import app
from spacy.training import Example
from spacy.util import registry
from tiny_encoder import ENCODER
from typer.testing import CliRunner

from spacy_torch.annotation import terminal
from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import find_questions
from spacy_torch.annotation.one_session import hold_dataset
from spacy_torch.annotation.pipelines import (
    find_saved,
    save_pipeline,
    split_labels,
    state_of,
    usable,
)
from spacy_torch.annotation.session import find_strategy
from spacy_torch.annotation.terminal import (
    COLD,
    HELP,
    converse,
    read_answer,
    show_task,
    teach,
)
from spacy_torch.features.picture import Picture

GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
TEXTS = [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in ("film", "soup", "day", "hat")]


def gold(text):
    return "POS" if text.split()[0] in GOOD else "NEG"


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture
def session(pool, tmp_path):
    """Runs a session on some lines, and gives what it has shown."""

    def run(lines, source="blank:en", **settings):
        shown = []
        settings = {"labels": ["POS", "NEG"], "background": False, **settings}
        learner = teach(
            source,
            pool,
            tmp_path / "answers.jsonl",
            lines=io.StringIO(lines) if isinstance(lines, str) else lines,
            write=shown.append,
            **settings,
        )
        return learner, shown

    return run


class Annotator:
    """Types the right answer to whatever was shown last."""

    def __init__(self, shown, n_answers):
        self.shown, self.left = shown, n_answers

    def readline(self):
        if not self.left:
            return "q\n"
        self.left -= 1
        text, options = self.shown[-1].splitlines()
        return f"{1 + ['POS', 'NEG'].index(gold(text))}\n"


def test_answers_are_lines_of_the_dataset_and_the_pipeline_is_saved_beside_it(session, tmp_path):
    learner, shown = session("1\n2\nr\ni\nq\n")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    answers = [line for line in lines if "answer" in line]
    assert [task["answer"] for task in answers] == ["accept", "accept", "reject", "ignore"]
    assert [task.get("accept") for task in answers] == [["POS"], ["NEG"], None, None]
    assert [task["text"] for task in answers] == [s.split("\n")[0] for s in shown if "1 POS" in s][
        :4
    ]
    nlp = spacy.load(tmp_path / "answers.model")
    text = answers[0]["text"]
    assert nlp(text).cats == learner.nlp(text).cats
    assert "4 answers" in shown[-2]


def test_a_session_to_the_end_learns_and_says_that_nothing_is_left(pool, tmp_path):
    shown = []
    learner = teach(
        "blank:en",
        pool,
        tmp_path / "answers.jsonl",
        lines=Annotator(shown, 1000),
        write=shown.append,
        labels=["POS", "NEG"],
        background=False,
        settings=Settings(batch=5, epsilon=1.0),
    )
    assert "There is nothing left to ask" in shown
    assert "-- 0 answered, 32 left" in shown
    assert any(line.endswith("of 31 random ones foretold") for line in shown)
    found = [max(doc.cats, key=doc.cats.get) for doc in learner.nlp.pipe(TEXTS)]
    assert found == [gold(text) for text in TEXTS]


def test_the_end_of_the_input_is_a_quit(session):
    learner, shown = session("1\n")
    assert len(learner.journal) == 1


def test_undone_answers_are_asked_again(session, tmp_path):
    learner, shown = session("u\n1\nu\n2\nq\n")
    assert "There is nothing to undo" in shown
    assert "Undone" in shown
    (task,) = learner.journal.answers.values()
    assert task["accept"] == ["NEG"]
    questions = [line for line in shown if "1 POS" in line]
    assert questions[0] == questions[1] == questions[3]


def test_what_is_not_understood_is_said_and_asked_again(session):
    learner, shown = session("x\n7\n1 2\n\nh\n1\nq\n")
    told = [line for line in shown if line.startswith("Not understood")]
    assert "numbers from 1 to 2, or a, r, i, u, q or h, got 'x'" in told[0]
    assert "exclude each other" in told[2]
    assert len(told) == 4
    assert HELP in shown
    assert len(learner.journal) == 1


@pytest.mark.parametrize("keep_state", [True, False])
def test_the_next_day_begins_with_the_question_that_was_open(session, tmp_path, keep_state):
    learner, shown = session("1\n2\n1\nq\n")
    before = [doc.cats for doc in learner.nlp.pipe(TEXTS)]
    if not keep_state:
        for file in sorted((tmp_path / "answers.model").rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
    again, shown_again = session("q\n")
    assert [s for s in shown_again if "1 POS" in s] == [[s for s in shown if "1 POS" in s][-1]]
    assert any(s.startswith("Going on with") for s in shown_again) == keep_state
    after = [doc.cats for doc in again.nlp.pipe(TEXTS)]
    assert all(a == pytest.approx(b, abs=1e-6) for a, b in zip(before, after, strict=True))


def test_what_was_undone_after_saving_is_unlearned_when_going_on(session, tmp_path):
    session("1\n2\nq\n")
    journal = Journal(tmp_path / "answers.jsonl")
    journal.undo()  # and then the machine lost power
    learner, _ = session("q\n")
    expected, _ = session("q\n", source="blank:en")
    for file in sorted((tmp_path / "answers.model").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    fresh, _ = session("q\n")
    for text in TEXTS:
        assert learner.nlp(text).cats == pytest.approx(fresh.nlp(text).cats, abs=1e-6)


def test_without_its_dataset_a_saved_pipeline_is_not_taken_up(session, tmp_path):
    session("1\n2\nq\n")
    (tmp_path / "answers.jsonl").unlink()
    learner, shown = session("q\n")
    assert not any(line.startswith("Going on") for line in shown)
    assert all(doc.cats["POS"] == pytest.approx(0.5) for doc in learner.nlp.pipe(TEXTS))


def test_answers_for_labels_that_are_gone_are_named_and_the_rest_goes_on(session, tmp_path, caplog):
    session("1\nq\n")
    path = tmp_path / "answers.jsonl"
    task = {"text": TEXTS[0], "accept": ["ODD"], "options": [], "answer": "accept",
            "_input_hash": 1, "_task_hash": 2}  # fmt: skip
    path.write_text(path.read_text() + json.dumps(task) + "\n")
    learner, _ = session("1\nq\n")
    assert "'ODD', which 'torch_textcat' does not have" in caplog.text
    assert len(learner.journal) == 3


def make_finder(tmp_path):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
    component = nlp.add_pipe("torch_ner", config={"model": model})
    doc = nlp.make_doc("Ada met Bob")
    component.initialize(lambda: [Example(doc, doc)], nlp=nlp, labels=["PERSON"])
    nlp.to_disk(tmp_path / "finder")
    return str(tmp_path / "finder")


def test_spans_are_accepted_or_rejected(session, tmp_path):
    learner, shown = session("a\nr\nq\n", make_finder(tmp_path), labels=[])
    assert [task["answer"] for task in learner.journal.answers.values()] == ["accept", "reject"]
    (first, _) = learner.journal.answers.values()
    assert f"[{first['spans'][0]['text']}: PERSON]" in "\n".join(shown)


def test_spans_are_marked_by_the_numbers_of_tokens(session, tmp_path):
    learner, shown = session("0 PERSON\n0-1 ODD\n0-1 PERSON\nq\n", make_finder(tmp_path),
                             labels=[], kind="manual")  # fmt: skip
    first, second = learner.journal.answers.values()
    assert [span["label"] for span in first["spans"]] == ["PERSON"]
    assert (second["spans"][0]["start"], second["spans"][0]["end"]) == (0, len(second["text"]))
    assert any("about the label 'ODD'" in line for line in shown)


TASK = {"text": "Ada met Bob", "tokens": [
    {"id": 0, "text": "Ada", "start": 0, "end": 3}, {"id": 1, "text": "met", "start": 4, "end": 7},
    {"id": 2, "text": "Bob", "start": 8, "end": 11}]}  # fmt: skip


@pytest.mark.parametrize("line", ["0", "2-1 A", "3 A", "1-3 A", "A", "0 A, x"])
def test_spans_that_are_none_are_refused(line):
    with pytest.raises(ValueError, match="a span is the numbers of its first and last token"):
        read_answer(line, TASK)


def test_a_line_that_answers_no_question_is_refused():
    with pytest.raises(ValueError, match="answer with a, r, i, u, q or h, got 'yes'"):
        read_answer("yes", {"text": "x", "label": "A"})
    task = {"text": "x", "options": [{"id": "A", "text": "A"}]}
    with pytest.raises(ValueError, match="numbers from 1 to 1"):
        read_answer("a", task)
    assert read_answer("0", task)["accept"] == []
    assert read_answer("a", {**task, "accept": ["A"]})["accept"] == ["A"]


def test_tasks_are_shown_as_text():
    spans = [{"start": 0, "end": 3, "label": "A"}, {"start": 0, "end": 7, "label": "B"}]
    assert show_task({"text": "Ada met Bob", "spans": spans, "label": "A"}) == (
        "[[Ada: A] met: B] Bob\nA?"
    )
    assert show_task({**TASK, "spans": []}) == "Ada met Bob\n0:Ada 1:met 2:Bob"
    box = {"label": "CELL", "x": 1, "y": 2, "width": 3, "height": 4}
    assert show_task({"image": "a.png", "spans": [box], "label": "CELL"}) == (
        "a.png\n  CELL: 3 x 4 at 1, 2\nCELL?"
    )
    options = [{"id": "A", "text": "A"}, {"id": "B", "text": "B"}]
    assert show_task({"text": "x", "options": options, "accept": ["B"]}) == "x\n1 A  2 B*"


# The parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_at", ["new", "old", "renamed", "done"])
def test_a_pipeline_is_found_wherever_saving_was_cut_short(tmp_path, cut_at):
    path = tmp_path / "model"
    nlp = spacy.blank("en")
    for _ in range(2):
        save_pipeline(nlp, path)
    old, new = tmp_path / "model.old", tmp_path / "model.new"
    if cut_at == "new":
        new.mkdir()
    elif cut_at == "old":
        path.rename(old)
    elif cut_at == "renamed":
        nlp.to_disk(old)
    assert spacy.load(find_saved(path)).lang == "en"
    save_pipeline(nlp, path)
    assert [one.name for one in tmp_path.iterdir()] == ["model"]
    assert find_saved(tmp_path / "other") is None


def test_labels_come_from_a_list_or_a_file(tmp_path):
    assert split_labels("A, B,,C ") == ["A", "B", "C"]
    assert split_labels("") == []
    (tmp_path / "labels.txt").write_text("A\n\nB C\n")
    assert split_labels(str(tmp_path / "labels.txt")) == ["A", "B C"]
    (tmp_path / "labels.json").write_text('["A", "B"]')
    assert split_labels(str(tmp_path / "labels.json")) == ["A", "B"]
    (tmp_path / "labels.json").write_text('{"A": 1}')
    with pytest.raises(ValueError, match=r"labels.json: expected a list of labels, got"):
        split_labels(str(tmp_path / "labels.json"))


def test_a_strategy_has_a_short_name():
    assert callable(find_strategy("Margin").choose)
    assert callable(find_strategy("spacy-torch.Random.v1").choose)
    with pytest.raises(ValueError, match="no query strategy 'spacy-torch.Odd.v1', only .*Margin"):
        find_strategy("Odd")


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("blank:en", {"labels": []}, "'torch_textcat' has no labels: name those"),
        ("blank:en", {"blank": "odd"}, "can have one of .*textcat.*, got 'odd'"),
        ("blank:en", {"labels": ["POS"]}, "chooses one of several labels, and has only 'POS'"),
    ],
)
def test_a_session_that_cannot_begin_says_why(session, source, settings, message):
    with pytest.raises(ValueError, match=message):
        session("q\n", source, **settings)


def test_components_that_need_annotated_documents_are_to_be_trained_first(session, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")
    nlp.add_pipe("torch_textcat")
    nlp.config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="cannot be initialized from documents without"):
        session("q\n", str(tmp_path / "config.cfg"))


def test_a_dataset_must_not_be_what_is_asked_about_or_the_place_of_the_pipeline(pool, tmp_path):
    before = pool.read_bytes()
    (tmp_path / "folder").mkdir()
    for dataset in (tmp_path / "answers.model", tmp_path / "folder"):
        with pytest.raises(ValueError, match=f"dataset .*{dataset.name} must be a file for the"):
            state_of(dataset)
    with pytest.raises(ValueError, match="pool.jsonl is the file of what is asked about"):
        teach("blank:en", pool, pool, lines=io.StringIO("1\n"), write=print, labels=["A", "B"])
    assert pool.read_bytes() == before
    assert state_of(tmp_path / "new.jsonl", pool) == tmp_path / "new.model"


def test_pictures_that_cannot_be_opened_are_left_out(tmp_path, caplog):
    (tmp_path / "a.png").write_text("no picture")
    tasks = [{"image": str(tmp_path / "a.png")}, {"image": str(tmp_path / "b.png")}, {"text": "c"}]
    assert list(usable(tasks)) == [{"text": "c"}]
    assert "a.png" in caplog.text
    assert "b.png" in caplog.text


def test_what_is_asked_about_a_picture_is_drawn(tmp_path):
    paths = []
    for number in range(3):
        pixels = np.full((40, 50, 3), 80 * number, dtype="uint8")
        paths.append(tmp_path / f"{number}.png")
        Picture.from_source(pixels).open().save(paths[-1])
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps({"image": str(path)}) + "\n" for path in paths))
    nlp = spacy.blank("image")
    nlp.add_pipe("fixed_detector")
    nlp.to_disk(tmp_path / "detector")
    registry.cli.get("torch-teach")
    command = ["torch-teach", str(tmp_path / "detector"), str(pool)]
    command += ["-d", str(tmp_path / "answers.jsonl"), "--view", str(tmp_path / "shown.png")]
    result = CliRunner().invoke(app, command, input="a\nq\n")
    assert result.exit_code == 0, result.output
    (task,) = Journal(tmp_path / "answers.jsonl").answers.values()
    assert f"{task['image']}\n  {task['label']}: " in result.output
    shown = np.asarray(Picture.from_source(tmp_path / "shown.png").open())
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1  # more than the plain picture


def test_boxes_are_drawn_by_their_numbers():
    task = {"image": "a.png", "spans": [], "_view_id": "image_manual"}
    spans = read_answer("BIG CELL 1 2 3 4.5,DUST 5 6 7 8", task)["spans"]
    sides = ("label", "x", "y", "width", "height")
    assert [[span[side] for side in sides] for span in spans] == [
        ["BIG CELL", 1, 2, 3, 4.5],
        ["DUST", 5, 6, 7, 8],
    ]
    for line in ("CELL 1 2 3", "CELL", "1 2 3 4", "CELL 1 2 3 x", "CELL 1 2 3 4,"):
        with pytest.raises(ValueError, match="a box is its label, left edge, top, width"):
            read_answer(line, task)


def test_a_model_that_finds_nothing_yet_says_what_to_do(session, tmp_path):
    nlp = spacy.blank("image")
    nlp.add_pipe("fixed_detector").boxes = []
    pixels = np.zeros((8, 8, 3), dtype="uint8")
    learner = ActiveLearner(
        nlp,
        find_questions(nlp),
        [{"image": str(tmp_path / "a.png")}],
        strategy=find_strategy("Margin"),
    )
    Picture.from_source(pixels).open().save(tmp_path / "a.png")
    shown = []
    assert list(converse(learner, io.StringIO(), shown.append, None)) == []
    assert shown == [COLD]


def test_classes_of_pictures_are_chosen(tmp_path, caplog):
    pool = tmp_path / "pool.jsonl"
    lines = []
    for number in range(4):
        pixels = np.full((16, 16, 3), 60 * number, dtype="uint8")
        pixels[:, : number + 1] = 255
        Picture.from_source(pixels).open().save(tmp_path / f"{number}.png")
        lines.append(json.dumps({"image": str(tmp_path / f"{number}.png")}))
    lines.append(json.dumps({"image": str(tmp_path / "missing.png")}))
    pool.write_text("\n".join(lines))
    learner = teach(
        "blank:image",
        pool,
        tmp_path / "answers.jsonl",
        lines=io.StringIO("1\n2\n"),
        write=str,
        labels=["DARK", "LIGHT"],
        blank="image",
        background=False,
    )
    assert len(learner.pool) == 4
    assert "missing.png" in caplog.text
    assert len(learner.journal) == 2


def test_an_empty_pool_cannot_begin_a_session(session, pool):
    pool.write_text("\n")
    with pytest.raises(ValueError, match="the pool is empty: there is nothing to ask about"):
        session("q\n")


# The command ----------------------------------------------------------------------------


@pytest.fixture
def command(pool, tmp_path):
    registry.cli.get("torch-teach")

    def run(lines, *arguments, source="blank:en"):
        command = ["torch-teach", source, str(pool), "-d", str(tmp_path / "answers.jsonl")]
        return CliRunner().invoke(app, [*command, *arguments], input=lines)

    return run


def test_the_command_asks_and_saves(command, tmp_path):
    result = command("1\n2\nq\n", "--label", "POS,NEG")
    assert result.exit_code == 0, result.output
    assert "1 POS  2 NEG" in result.output
    assert len(Journal(tmp_path / "answers.jsonl")) == 2


@pytest.mark.parametrize(
    ("arguments", "source", "message"),
    [
        ([], "blank:en", "has no labels"),
        (["-l", "A,B", "--strategy", "Odd"], "blank:en", "no query strategy"),
        (["-l", "A,B", "--component", "odd"], "blank:en", "there is no component 'odd'"),
        (["-l", "A,B"], "missing_pipeline", "missing_pipeline"),
        (["-l", "A,B"], "missing.cfg", "missing.cfg"),
    ],
)
def test_the_command_says_why_it_cannot_begin(command, arguments, source, message):
    result = command("q\n", *arguments, source=source)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_the_command_says_what_failed_in_the_middle(command, monkeypatch):
    def fail(*arguments, **settings):
        raise RuntimeError("rehearsing the answers failed")

    monkeypatch.setattr(terminal, "teach", fail)
    result = command("q\n", "--label", "A,B")
    assert result.exit_code == 1
    assert "Cannot go on" in result.output
    assert "rehearsing the answers failed" in result.output


def start(pool, tmp_path):
    arguments = ["blank:en", str(pool), "-d", str(tmp_path / "answers.jsonl"), "-l", "POS,NEG"]
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "spacy", "torch-teach", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def read_question(process):
    """The text of the next question."""
    before = ""
    for line in process.stdout:
        if line.startswith("1 POS"):
            return before.strip()
        before = line
    raise AssertionError("it ended")


@pytest.mark.parametrize("n_kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_session_killed_at_any_moment_loses_no_answer(pool, tmp_path, n_kills):
    moments = random.Random(n_kills)
    dataset = tmp_path / "answers.jsonl"
    confirmed = []
    open_question = None
    for _ in range(n_kills):
        process = start(pool, tmp_path)
        question = read_question(process)
        known = [task["text"] for task in Journal(dataset).answers.values()]
        # The last answer was sent and its question not seen to end: it may be there or not.
        assert known[: len(confirmed)] == confirmed
        assert len(known) <= len(confirmed) + 1
        if len(known) == len(confirmed) and open_question is not None:
            assert question == open_question
        confirmed = known
        for _ in range(moments.randint(0, 1 if n_kills > 10 else 3)):
            process.stdin.write("1\n")
            process.stdin.flush()
            confirmed.append(question)
            question = read_question(process)
        process.stdin.write("1\n")
        process.stdin.flush()
        open_question = question
        time.sleep(moments.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    texts = [task["text"] for task in Journal(dataset).answers.values()]
    assert texts[: len(confirmed)] == confirmed
    assert len(texts) == len(set(texts)) <= len(confirmed) + 1


def test_a_second_session_on_a_dataset_is_refused(pool, tmp_path):
    dataset = tmp_path / "answers.jsonl"
    with hold_dataset(dataset), pytest.raises(RuntimeError, match="another session is writing"):
        teach("blank:en", pool, dataset, lines=io.StringIO("1\n"), write=print, labels=["A", "B"])
    assert not dataset.exists()
