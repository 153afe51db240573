import json

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import DocBin
from spacy.util import registry
from tiny_annotator import TROUBLES, make_texts, read_scores, save_pipeline
from typer.testing import CliRunner

from spacy_torch import Annotator
from spacy_torch.inference.parts import find_parts, part_path, read_parts
from spacy_torch.inference.processes import _work, annotate_file
from spacy_torch.inference.texts import read_records

RECORDS = [{"id": i, "text": text} for i, text in enumerate(make_texts(50))]


@pytest.fixture
def folder(tmp_path):
    save_pipeline(tmp_path / "model", trouble=tmp_path / "troubles")
    write_texts(tmp_path, RECORDS)
    return tmp_path


def write_texts(folder, records):
    lines = [json.dumps(record) for record in records]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(folder, **settings):
    annotator = Annotator(folder / "model", batch_size=4, code=TROUBLES)
    steps = annotate_file(
        folder / "texts.jsonl",
        folder / "out",
        annotator,
        read=read_records,
        **{"part_size": 8, **settings},
    )
    return list(steps)[-1]


def read_out(folder):
    docs = read_parts(folder / "out", spacy.blank("en").vocab)
    return [(doc.user_data["record"]["id"], *read_scores(doc.to_bytes())) for doc in docs]


def annotate_alone(folder, records):
    rows = Annotator(folder / "model")(records)
    return [(row["id"], *read_scores(row["doc"])) for row in rows if row["doc"]]


@pytest.mark.slow
def test_killed_worker_is_replaced_and_every_document_comes_once(folder):
    records = [{**r, "text": f"{r['text']} KILL"} if r["id"] == 20 else r for r in RECORDS]
    records[33] = {"id": 33, "text": "BAD"}
    write_texts(folder, records)
    assert run(folder) == (7, 7, 1)
    assert (folder / "troubles" / "killed").exists()
    assert read_out(folder) == annotate_alone(folder, records)
    assert len(list((folder / "troubles").glob("*.worker"))) >= 3
    (error,) = (
        json.loads(line)
        for line in (folder / "out" / "part-000004.errors.jsonl").read_text().splitlines()
    )
    assert (error["id"], error["error"]) == (33, "ValueError: cannot read BAD")


def test_command_says_that_there_is_nothing_to_annotate(folder):
    registry.cli.get("torch-annotate")  # as python -m spacy does
    (folder / "blank.txt").write_text("\n \n")
    words = ["torch-annotate", folder / "model", folder / "blank.txt", folder / "out"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0
    assert "has no documents: there is nothing to annotate" in " ".join(result.output.split())
    assert "Written" not in result.output


@pytest.mark.slow
def test_command_goes_on_with_what_was_stopped(folder):
    registry.cli.get("torch-annotate")  # as python -m spacy does
    arguments = ["torch-annotate", folder / "model", folder / "texts.jsonl", folder / "out"]
    settings = ["--part-size", "8", "--workers", "1", "--code", TROUBLES]
    command = [str(part) for part in [*arguments, *settings]]
    assert CliRunner().invoke(app, command).exit_code == 0
    before = read_out(folder)
    assert before == annotate_alone(folder, RECORDS)
    kept = {n: part_path(folder / "out", n).stat().st_mtime_ns for n in range(7)}
    part_path(folder / "out", 3).unlink()
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert read_out(folder) == before
    found = {n: part_path(folder / "out", n).stat().st_mtime_ns for n in range(7)}
    assert [n for n in range(7) if found[n] != kept[n]] == [3]
    # Anything else is refused, before a process is started.
    other = CliRunner().invoke(app, [*command, "--part-size", "9"])
    assert other.exit_code == 1
    assert "made with other settings (part_size)" in " ".join(other.output.split())


def test_nothing_is_started_when_all_is_there(folder, monkeypatch):
    annotator = Annotator(folder / "model", batch_size=4)
    out = folder / "out"
    monkeypatch.setattr("spacy_torch.inference.processes.PATIENCE", 0)
    write_texts(folder, [])
    steps = annotate_file(folder / "texts.jsonl", out, annotator, read=read_records)
    assert [tuple(step) for step in steps] == [(0, 0, 0), (0, 0, 0)]


@pytest.mark.slow
def test_worker_with_an_error_ends_the_job_and_says_what_is_missing(folder):
    (folder / "model" / "config.cfg").unlink()
    with pytest.raises(RuntimeError, match=r"error above; 7 of 7 parts are missing, the first is"):
        run(folder, workers=1)


@pytest.mark.slow
def test_part_that_kills_every_worker_ends_the_job(folder, monkeypatch):
    monkeypatch.setattr("spacy_torch.inference.processes.PATIENCE", 1)
    records = [{**r, "text": f"{r['text']} KILL"} if r["id"] == 20 else r for r in RECORDS]
    write_texts(folder, records)
    with pytest.raises(RuntimeError, match=r"1 workers were killed \(the last by signal 9\)"):
        run(folder, workers=1)
    assert run(folder, workers=1) == (7, 7, 0)


def test_worker_whose_job_was_killed_makes_no_more_parts(folder, monkeypatch):
    class Killed:
        def is_alive(self):
            return part_path(folder / "out", 1).exists() is False

    monkeypatch.setattr("multiprocessing.parent_process", Killed)
    annotator = Annotator(folder / "model", code=TROUBLES)
    settings = {"read": read_records, "part_size": 8, "step": 1}
    _work(folder / "texts.jsonl", folder / "out", annotator, 0, **settings)
    assert len(find_parts(folder / "out")) == 2


def test_missing_pipeline_is_named_before_anything_is_done(folder):
    registry.cli.get("torch-annotate")  # as python -m spacy does
    (folder / "a file").touch()
    for name in ("not_installed", folder / "a file"):
        words = ["torch-annotate", name, folder / "texts.jsonl", folder / "out"]
        result = CliRunner().invoke(app, [*map(str, words)])
        assert result.exit_code == 1
        assert "is neither a folder nor an installed pipeline" in " ".join(result.output.split())
        assert not (folder / "out").exists()
    with pytest.raises(OSError, match="'not_installed' is neither a folder nor an installed pipe"):
        Annotator("not_installed").check_place()


@pytest.mark.parametrize("name", ["workers", "part_size"])
def test_number_below_one_is_refused(folder, name):
    with pytest.raises(ValueError, match="workers and part_size must be at least 1"):
        run(folder, **{name: 0})


def test_folder_with_parts_of_unknown_origin_is_refused(folder):
    (folder / "out").mkdir()
    DocBin().to_disk(part_path(folder / "out", 0))
    with pytest.raises(ValueError, match="parts of which nothing is known, as job.json is missing"):
        run(folder)


def test_parts_of_another_pipeline_are_refused(folder):
    annotator = Annotator(folder / "model")
    write_texts(folder, [])
    list(annotate_file(folder / "texts.jsonl", folder / "out", annotator, read=read_records))
    (folder / "model" / "meta.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"made with other settings \(pipeline\), with which"):
        list(annotate_file(folder / "texts.jsonl", folder / "out", annotator, read=read_records))


def test_records_of_each_kind_of_file(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two \n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "one"}\n\n', encoding="utf-8")
    nlp = spacy.blank("en")
    DocBin(docs=[nlp("one"), nlp("two")]).to_disk(tmp_path / "a.spacy")
    assert list(read_records(tmp_path / "a.txt")) == [
        {"line": 1, "text": "one"},
        {"line": 3, "text": " two "},
    ]
    assert list(read_records(tmp_path / "a.jsonl")) == [{"id": 1, "text": "one"}]
    docs = [read_scores(record["doc"])[0] for record in read_records(tmp_path / "a.spacy")]
    assert docs == ["one", "two"]
