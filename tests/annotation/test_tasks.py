"""Tasks are known by what they ask, and lines that are none are named."""

import pytest

from spacy_torch.annotation.tasks import check_input, distinct, read_tasks, set_hashes


def test_questions_about_one_input_share_a_hash_and_differ_in_another():
    a = set_hashes({"image": "a.png", "label": "CAT", "meta": {"score": 0.1}})
    b = set_hashes({"image": "a.png", "label": "DOG"})
    assert a["_input_hash"] == b["_input_hash"]
    assert a["_task_hash"] != b["_task_hash"]
    assert all(-(2**31) <= task[key] < 2**31 for task in (a, b) for key in a if key[0] == "_")


def test_what_a_model_thought_makes_no_other_question():
    box = {"x": 1, "y": 2, "width": 3, "height": 4, "label": "CELL"}
    a = set_hashes({"image": "a.png", "spans": [{**box, "score": 0.5}], "rank": 3})
    b = set_hashes({"image": "a.png", "spans": [box], "answer": "accept"})
    assert a["_task_hash"] == b["_task_hash"]
    moved = set_hashes({"image": "a.png", "spans": [{**box, "x": 2}]})
    assert moved["_task_hash"] != a["_task_hash"]


def test_hashes_that_are_there_are_kept():
    task = {"text": "a", "_input_hash": 5, "_task_hash": 6}
    assert set_hashes(task) == task
    assert set_hashes(task, overwrite=True)["_input_hash"] != 5


def test_of_tasks_with_the_same_input_the_first_counts():
    tasks = distinct([{"text": "a", "meta": {"n": 1}}, {"text": "b"}, {"text": "a"}])
    assert [(task["text"], task.get("meta")) for task in tasks] == [("a", {"n": 1}), ("b", None)]


def test_lines_that_are_no_tasks_are_named_and_left_out(tmp_path, caplog):
    path = tmp_path / "pool.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "one"}\n\n{"text": ""}\n{"text"\n["text"]\n\xff\n'
        b'{"image": "a.png"}\n{"text": "half \\ud83e"}\n' + b"[" * 100_000 + b"\n"
    )
    assert [next(iter(task.values())) for task in read_tasks(path)] == ["one", "a.png"]
    for number in (3, 4, 5, 6, 8, 9):
        assert f"{path}, line {number} is left out" in caplog.text
    assert caplog.text.count("left out") == 6


def test_half_a_character_is_refused_as_it_cannot_be_saved():
    with pytest.raises(ValueError, match="half a character, '.ud83e', that cannot be saved"):
        check_input({"text": "a", "meta": {"source": "half \ud83e"}})


def test_a_file_without_tasks_is_an_error(tmp_path):
    path = tmp_path / "pool.jsonl"
    with pytest.raises(FileNotFoundError, match="there is no file .*pool.jsonl"):
        list(read_tasks(path))
    path.write_text('{"txt": "one"}\n')
    with pytest.raises(ValueError, match="none of its 1 lines can be used"):
        list(read_tasks(path))
    path.write_text("\n")
    assert list(read_tasks(path)) == []
