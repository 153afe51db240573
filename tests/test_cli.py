import csv

import pytest
import spacy
from spacy.cli import app
from spacy.training import Corpus
from spacy.util import registry
from typer.testing import CliRunner


@pytest.fixture
def convert():
    registry.cli.get("torch-convert")  # as python -m spacy does

    def run(*arguments):
        return CliRunner().invoke(app, ["torch-convert", *map(str, arguments)])

    return run


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "train.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "category"])
        writer.writerows([f"text {i}", f"intent{i % 2}"] for i in range(40))
    return path


def cats(path):
    return [example.reference.cats for example in Corpus(path)(spacy.blank("en"))]


def test_convert_writes_two_corpora_with_all_labels_in_both(convert, table, tmp_path):
    output = tmp_path / "corpus" / "train.spacy"
    result = convert(table, output, "--label", "category", "--dev-split", 0.1)
    assert result.exit_code == 0
    assert "36 texts with 2 labels" in result.output
    assert len(cats(output)) == 36
    held = cats(tmp_path / "corpus" / "dev.spacy")
    assert [sum(doc[label] for doc in held) for label in ("intent0", "intent1")] == [2.0, 2.0]


def test_convert_without_split_keeps_every_row(convert, table, tmp_path):
    result = convert(table, tmp_path / "test.spacy", "-l", "category")
    assert result.exit_code == 0
    assert len(cats(tmp_path / "test.spacy")) == 40
    assert not (tmp_path / "dev.spacy").exists()


def test_convert_of_a_wrong_column_says_which_there_are_and_writes_nothing(
    convert, table, tmp_path
):
    result = convert(table, tmp_path / "test.spacy")
    assert result.exit_code == 1
    assert (
        "the header has no column 'label', only 'text', 'category': name it with --label category,"
        in " ".join(result.output.split())
    )
    assert not (tmp_path / "test.spacy").exists()


@pytest.mark.parametrize("settings", [[], ["--dev-output", "corpus/../dev.spacy"]])
def test_held_out_part_is_never_written_over_the_rest(
    convert, table, tmp_path, monkeypatch, settings
):
    monkeypatch.chdir(tmp_path)
    result = convert(table, "dev.spacy", "-l", "category", "--dev-split", 0.1, *settings)
    assert result.exit_code == 1
    message = "would overwrite the rest, as both go to dev.spacy: name another file with --dev-out"
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "dev.spacy").exists()
    assert convert(table, "dev.spacy", "-l", "category").exit_code == 0
