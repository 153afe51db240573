"""No confirmed answer is lost, and none is there twice, wherever a write was cut short."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.tasks import set_hashes


def make_task(text, answer="accept", label="A"):
    return set_hashes({"text": text, "label": label, "answer": answer})


def make_question(text):
    task = make_task(text)
    del task["answer"]
    return task


def contents(journal):
    return list(journal.answers.values()), list(journal.pending.values())


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "folder" / "answers.jsonl"
    journal = Journal(path)
    journal.ask([make_question("one"), make_question("two"), make_question("three")])
    journal.write([make_task("one"), make_task("two", "reject")])
    journal.write([make_task("one", "ignore")])
    assert contents(Journal(path)) == contents(journal)
    assert [task["answer"] for task in journal.answers.values()] == ["reject", "ignore"]
    assert [task["text"] for task in journal.pending.values()] == ["three"]
    assert len(path.read_text().splitlines()) == 4


def test_an_answer_taken_back_is_asked_again_first(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl")
    assert journal.undo() is None
    journal.ask([make_question("one"), make_question("two")])
    journal.write([make_task("one")])
    task = journal.undo()
    assert task == make_question("one")
    assert [one["text"] for one in journal.pending.values()] == ["one", "two"]
    assert contents(Journal(journal.path)) == contents(journal)


def test_an_answer_given_again_is_the_last_one_also_after_a_restart(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl")
    first, second, other = make_task("one"), make_task("one", label="B"), make_task("two")
    journal.write([first, second, other])
    journal.write([first])
    for one in (journal, Journal(journal.path)):
        assert list(one.answers.values()) == [second, other, first]
        assert one.of_input(first["_input_hash"]) == [second, first]
        assert one.of_input(other["_input_hash"]) == [other]
    assert journal.undo() == make_question("one")
    assert journal.of_input(first["_input_hash"]) == [second]


def test_any_answer_can_be_taken_back_once(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl")
    one, two = make_task("one"), make_task("two")
    journal.write([one, two])
    assert journal.take_back(one["_task_hash"]) == make_question("one")
    assert journal.of_input(one["_input_hash"]) == []
    assert contents(Journal(journal.path)) == contents(journal)
    n_lines = len(journal.path.read_text().splitlines())
    with pytest.raises(ValueError, match=f"no answer with the hash {one['_task_hash']} to take"):
        journal.take_back(one["_task_hash"])
    assert len(journal.path.read_text().splitlines()) == n_lines


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("AB"), st.booleans()) | st.none(),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=40)
def test_whatever_is_answered_and_taken_back_the_order_is_that_of_the_last_answers(given):
    journal, wanted = Journal(None), []
    for step in given:
        if step is None:
            journal.undo()
            wanted = wanted[:-1]
        else:
            text, label, is_yes = step
            task = make_task(text, "accept" if is_yes else "reject", label)
            journal.write([task])
            wanted = [one for one in wanted if one["_task_hash"] != task["_task_hash"]] + [task]
    assert list(journal.answers.values()) == wanted
    for text in "abc":
        key = make_task(text)["_input_hash"]
        assert journal.of_input(key) == [one for one in wanted if one["text"] == text]


@given(st.integers(0, 400))
@settings(deadline=None, max_examples=60)
def test_a_file_cut_anywhere_keeps_all_whole_lines_and_goes_on(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "answers.jsonl"
    journal = Journal(path)
    tasks = [make_task(f"text {number} ä") for number in range(3)]
    for task in tasks:
        journal.write([task])
    data = path.read_bytes()
    cut = min(cut, len(data))
    path.write_bytes(data[:cut])
    n_whole = data[:cut].count(b"\n")
    loaded = Journal(path)
    assert list(loaded.answers.values()) == tasks[:n_whole]
    loaded.write([make_task("after")])
    assert list(Journal(path).answers.values()) == [*tasks[:n_whole], make_task("after")]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_line_that_cannot_be_used_is_named_and_the_others_count(tmp_path, caplog):
    path = tmp_path / "answers.jsonl"
    lines = [json.dumps(make_task("one")), "nonsense", '{"text": "no answer"}', "[]"]
    path.write_text("\n".join([*lines, json.dumps(make_task("two"))]) + "\n")
    assert [task["text"] for task in Journal(path).answers.values()] == ["one", "two"]
    assert [f"line {n} is left out" in caplog.text for n in (1, 2, 3, 4, 5)] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_an_answer_that_did_not_fit_on_the_disk_spoils_none_of_those_after_it(
    tmp_path, monkeypatch
):
    journal = Journal(tmp_path / "answers.jsonl")
    journal.write([make_task("one")])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: cut_short(file, journal.path))
        with pytest.raises(OSError, match="disk is full"):
            journal.write([make_task("two")])
    journal.write([make_task("three")])
    for one in (journal, Journal(journal.path)):
        assert [task["text"] for task in one.answers.values()] == ["one", "three"]


def cut_short(file, path):
    os.truncate(path, path.stat().st_size - 10)
    raise OSError(f"the disk is full: {file}")


def test_an_answer_of_another_kind_is_not_written(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl")
    with pytest.raises(ValueError, match="must be one of .*, got 'yes' in 'one'"):
        journal.write([make_task("two"), make_task("one", "yes")])
    assert not journal.path.exists()
    assert len(journal) == 0


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal(None)
    journal.write([make_task("one")])
    assert len(journal) == 1
    assert list(tmp_path.iterdir()) == []
