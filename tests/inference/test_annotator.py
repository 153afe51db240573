import gc
import logging
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import spacy
import srsly
import torch
from spacy.tokens import Doc, DocBin
from tiny_annotator import TROUBLES, make_texts, read_scores, save_pipeline

from spacy_torch import Annotator
from spacy_torch.inference.annotator import errors_path

TEXTS = make_texts(30)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    return save_pipeline(folder / "model", trouble=folder / "troubles")


@pytest.fixture
def annotator(pipeline):
    return Annotator(pipeline, batch_size=8)


def scores_of(nlp, texts):
    return [read_scores(doc.to_bytes()) for doc in nlp.pipe(texts)]


def test_rows_have_what_the_pipeline_says(annotator, pipeline):
    rows = annotator(TEXTS)
    assert [row["text"] for row in rows] == TEXTS
    assert {row["error"] for row in rows} == {None}
    found = [read_scores(row["doc"]) for row in rows]
    assert found == scores_of(spacy.load(pipeline), TEXTS)
    assert len({tuple(cats.values()) for _, cats in found}) > 1


def test_records_keep_their_ids_and_everything_else(annotator):
    records = [{"id": i, "text": text, "day": "today"} for i, text in enumerate(TEXTS)]
    rows = annotator(records)
    assert [{**row, "doc": None} for row in rows] == [
        {**record, "doc": None, "error": None} for record in records
    ]
    assert [read_scores(row["doc"])[0] for row in rows] == TEXTS


def test_text_may_be_under_another_key(pipeline):
    (row,) = Annotator(pipeline, text="body")([{"body": "my card", "text": "not this"}])
    assert read_scores(row["doc"])[0] == row["body"] == "my card"


def test_docs_go_in_as_bytes_and_keep_what_they_have(annotator):
    nlp = annotator.load()
    doc = Doc(nlp.vocab, words=["my", "card"], spaces=[False, False])
    doc.user_data["seen"] = True
    alone, inside = annotator([doc.to_bytes(), {"id": 7, "doc": doc.to_bytes()}])
    assert (list(alone), inside["id"]) == (["doc", "error"], 7)
    for row in (alone, inside):
        found = Doc(nlp.vocab).from_bytes(row["doc"])
        assert [token.text for token in found] == ["my", "card"]
        assert found.user_data["seen"]
        assert found.cats.keys() == {"a", "b"}


def test_empty_text_and_no_texts_are_fine(annotator, tmp_path):
    assert annotator([]) == []
    (row,) = annotator([""])
    assert (row["error"], read_scores(row["doc"])[0]) == (None, "")
    assert annotator.write([""], tmp_path / "one.spacy").n_docs == 1
    assert annotator.write([], tmp_path / "none.spacy").n_docs == 0
    assert list(DocBin().from_disk(tmp_path / "none.spacy").get_docs(spacy.blank("en").vocab)) == []


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_documents_that_fail_do_not_take_others_with_them(pipeline, batch_size):
    texts = [f"{text} BAD" if i in (0, 11, 12, 29) else text for i, text in enumerate(TEXTS)]
    rows = Annotator(pipeline, batch_size=batch_size)(texts)
    assert [i for i, row in enumerate(rows) if row["error"]] == [0, 11, 12, 29]
    assert rows[11]["error"] == f"ValueError: cannot read {texts[11]}"
    assert rows[11]["doc"] is None
    assert [read_scores(row["doc"])[0] for row in rows if row["doc"]] == [
        text for text in texts if "BAD" not in text
    ]


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"id": 1}, "TypeError: a record needs a str under 'text' or the bytes of a Doc"),
        ({"text": None}, "got None and None, with the keys ['text']"),
        ({"text": float("nan")}, "got nan and None"),
        ({"doc": b"no doc"}, "ExtraData: "),
        ({"text": "x" * 1_000_001}, "[E088] Text of length 1000001 exceeds maximum"),
    ],
)
def test_record_that_is_no_text_is_an_error_of_its_own(annotator, record, error):
    good, bad = annotator(["my card", record])
    assert good["error"] is None
    assert bad["doc"] is None
    assert error in bad["error"]


def test_first_failure_is_logged_with_its_id(pipeline, caplog):
    annotator = Annotator(pipeline)
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        annotator([{"id": "n7", "text": "BAD"}, {"id": "n8", "text": "BAD"}])
        annotator(["BAD again"])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("The document with the id 'n7' could not be annotated: ValueError")


def test_component_that_drops_documents_is_found_out(pipeline, monkeypatch):
    annotator = Annotator(pipeline)
    nlp = annotator.load()
    drop = lambda docs, **_: (doc for doc in docs if "fee" not in doc.text)  # noqa: E731
    monkeypatch.setattr(nlp.get_pipe("torch_textcat"), "pipe", drop)
    good, bad = annotator(["my card", "my fee"])
    assert good["error"] is None
    assert bad["error"] == "RuntimeError: the pipeline gave back 0 of 1 documents"


def test_written_file_has_documents_and_records_and_errors_beside_it(annotator, tmp_path):
    path = tmp_path / "new" / "part.spacy"
    records = [{"id": i, "text": text, "day": "today"} for i, text in enumerate(TEXTS)]
    records[3]["text"] = "BAD"
    written = annotator.write(records, path)
    assert written == (path, 29, 1)
    docs = list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))
    assert [read_scores(doc.to_bytes()) for doc in docs] == [
        read_scores(row["doc"]) for row in annotator(records) if row["doc"]
    ]
    assert [doc.user_data["record"] for doc in docs] == [
        {"id": i, "day": "today"} for i in range(30) if i != 3
    ]
    assert list(srsly.read_jsonl(errors_path(path))) == [
        {"id": 3, "text": "BAD", "day": "today", "error": "ValueError: cannot read BAD"}
    ]


def test_file_written_again_without_errors_has_none_beside_it(annotator, tmp_path):
    path = tmp_path / "part.spacy"
    annotator.write(["BAD"], path)
    annotator.write(["good"], path)
    assert [file.name for file in tmp_path.iterdir()] == ["part.spacy"]


def test_failure_while_writing_leaves_the_old_file(annotator, tmp_path, monkeypatch):
    path = tmp_path / "part.spacy"
    annotator.write(["my card"], path)
    before = path.read_bytes()
    monkeypatch.setattr(DocBin, "to_bytes", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        annotator.write(["BAD"], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["part.spacy"]


def test_record_that_cannot_be_stored_is_an_error_of_its_own(annotator, tmp_path):
    path = tmp_path / "part.spacy"
    written = annotator.write([{"id": 1, "text": "a"}, {"id": object(), "text": "b"}], path)
    assert (written.n_docs, written.n_errors) == (1, 1)
    (error,) = srsly.read_jsonl(errors_path(path))
    assert error["id"].startswith("<object object")


def test_copies_share_one_pipeline_and_new_ones_load_again(annotator):
    copied = pickle.loads(pickle.dumps(annotator))
    assert copied == annotator
    assert copied.load() is annotator.load()
    assert Annotator(annotator.pipeline, batch_size=8).load() is not annotator.load()


def test_pickle_holds_the_place_and_not_the_pipeline(annotator):
    annotator.load()
    assert len(pickle.dumps(annotator)) < 1000


def test_threads_load_once_and_take_turns(pipeline):
    annotator = Annotator(pipeline, batch_size=4)
    expected = annotator(TEXTS)
    fresh = Annotator(pipeline, batch_size=4)
    barrier = threading.Barrier(4)

    def work(_):
        barrier.wait()
        return fresh.load(), fresh(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert len({id(nlp) for nlp, _ in results}) == 1
    assert all(rows == expected for _, rows in results)


def test_one_thread_while_it_works_and_as_many_as_before_afterwards(pipeline, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    seen: list[int] = []
    try:
        for threads in (1, 2, None):
            annotator = Annotator(pipeline, threads=threads)
            troubles = type(annotator.load().get_pipe("tests_troubles"))
            note = lambda self, doc: (seen.append(torch.get_num_threads()), doc)[1]  # noqa: E731
            monkeypatch.setattr(troubles, "__call__", note)
            assert annotator(["text"])[0]["error"] is None
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2, 3]


def test_vocabulary_does_not_grow_with_the_documents(annotator):
    strings = annotator.load().vocab.strings
    annotator(["some first words"])
    before = len(strings)
    annotator([f"never{i} seen{i} before{i}" for i in range(300)])
    assert len(strings) == before


def test_nothing_of_a_block_is_left_behind(annotator):
    def count(texts):
        for row in annotator.stream(texts):
            del row
        gc.collect()
        return len(gc.get_objects())

    texts = [f"{text} {i}" for i in range(20) for text in TEXTS]
    count(texts)  # what is made once and kept
    before = count(texts)
    assert count([f"other {text}" for text in texts]) - before < len(texts) / 10


def test_eight_threads_annotate_like_one(pipeline):
    one, eight = (Annotator(pipeline, threads=number)(TEXTS) for number in (1, 8))
    assert [read_scores(row["doc"]) for row in eight] == [read_scores(row["doc"]) for row in one]


def test_disabled_components_do_not_run(pipeline):
    (row,) = Annotator(pipeline, disable=["torch_textcat"])(["my card"])
    assert read_scores(row["doc"]) == ("my card", {})


def test_relative_folder_is_meant_from_here(pipeline, monkeypatch, tmp_path):
    monkeypatch.chdir(pipeline.parent)
    annotator = Annotator("model")
    monkeypatch.chdir(tmp_path)
    assert annotator.pipeline == str(pipeline)
    assert annotator(["my card"])[0]["error"] is None


def test_code_is_run_once_and_again_when_it_has_changed(pipeline, tmp_path):
    code, runs = tmp_path / "my_code.py", tmp_path / "runs.txt"
    lines = f"with open({str(runs)!r}, 'a') as file:\n    file.write('.')\n"
    code.write_text(lines, encoding="utf-8")
    for mtime, expected in [(1, "."), (1, "."), (2, ".."), (2, "..")]:
        os.utime(code, (mtime, mtime))
        Annotator(pipeline, code=code).load()
        assert runs.read_text(encoding="utf-8") == expected


def test_code_may_be_imported_already(pipeline):
    assert Annotator(pipeline, code=TROUBLES)(["my card"])[0]["error"] is None


def test_code_must_be_a_python_file(pipeline, tmp_path):
    (tmp_path / "code.txt").touch()
    with pytest.raises(ValueError, match=r"code must be a Python file \(.py\), got .*code.txt"):
        Annotator(pipeline, code=tmp_path / "code.txt").load()


def test_pipeline_that_is_not_there_names_the_machine():
    with pytest.raises(OSError, match=r"cannot load 'en_nowhere' on .+, process \d+: .*E050"):
        Annotator("en_nowhere")(["text"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pipeline": spacy.blank("en")}, r"got a English: save it with nlp.to_disk\(folder\)"),
        ({"disable": "tagger"}, "disable must be a list of names, got 'tagger'"),
    ],
)
def test_setting_of_another_type_is_refused(settings, message):
    with pytest.raises(TypeError, match=message):
        Annotator(**{"pipeline": "en", **settings})


@pytest.mark.parametrize("name", ["batch_size", "threads"])
def test_number_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Annotator("en", **{name: 0})


@pytest.mark.parametrize("single", ["my card", b"doc", {"text": "my card"}])
def test_single_text_is_refused(annotator, single):
    with pytest.raises(TypeError, match="expected texts or records, got a single"):
        annotator(single)


def test_number_is_no_text(annotator):
    with pytest.raises(TypeError, match=r"expected a str, the bytes of a Doc, .* got a int"):
        annotator([3])
