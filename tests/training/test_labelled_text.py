import csv
import json

import pytest
import spacy
from spacy.training import Corpus
from spacy.util import registry

from spacy_torch.training.labelled_text import (
    LabelledText,
    label_names,
    read_labelled_text,
    write_labelled_text,
)

ROWS = [
    LabelledText('He said "no", twice', ("quote",)),
    LabelledText("Zwölf Boxkämpfer", ("german",)),
    LabelledText("two\nlines", ("other",)),
]


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write_file


def test_csv_with_quotes_and_line_breaks_comes_back_as_written(tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        writer.writerows([row.labels[0], row.text] for row in ROWS)
    assert read_labelled_text(path) == ROWS


def test_jsonl_comes_back_as_written(write):
    lines = [json.dumps({"text": row.text, "label": row.labels[0]}) for row in ROWS]
    assert read_labelled_text(write("rows.jsonl", "\n\n".join(lines))) == ROWS


def test_quotes_in_a_tsv_are_letters(write):
    path = write("rows.tsv", 'text\tlabel\n"Oh no\tsad\n')
    assert read_labelled_text(path) == [LabelledText('"Oh no', ("sad",))]


def test_byte_order_mark_is_not_part_of_the_first_column(write):
    path = write("rows.csv", b"\xef\xbb\xbftext,label\r\nhello,greeting\r\n")
    assert read_labelled_text(path) == [LabelledText("hello", ("greeting",))]


def test_columns_are_named_for_a_file_without_header(write):
    path = write("rows.tsv", "hello\t3,5\tabc\n")
    rows = read_labelled_text(path, label="ids", labels="many", columns=["text", "ids", "id"])
    assert rows == [LabelledText("hello", ("3", "5"))]


def test_many_labels_may_be_none_repeated_or_a_list(write):
    lines = ['{"text": "a", "label": ""}', '{"text": "b", "label": ["x", "y", "x"]}']
    rows = read_labelled_text(write("rows.jsonl", "\n".join(lines)), labels="many")
    assert [row.labels for row in rows] == [(), ("x", "y")]


def test_reader_gives_every_label_of_the_file_even_where_rows_are_limited(write):
    path = write("rows.csv", "text,label\nhello there,b\nbye,a\n")
    build = registry.readers.get("spacy-torch.LabelledText.v1")
    nlp = spacy.blank("en")
    (example,) = build(path=str(path), limit=1)(nlp)
    assert example.reference.cats == {"a": 0.0, "b": 1.0}
    assert example.predicted.cats == {}
    assert [token.text for token in example.predicted] == ["hello", "there"]


def test_written_file_reads_back_the_same(tmp_path):
    nlp = spacy.blank("en")
    path = tmp_path / "new" / "corpus.spacy"
    write_labelled_text(ROWS, path, nlp=nlp, names=label_names(ROWS))
    examples = list(Corpus(path)(nlp))
    assert [example.text for example in examples] == [row.text for row in ROWS]
    for row, example in zip(ROWS, examples, strict=True):
        assert {name for name, on in example.reference.cats.items() if on} == set(row.labels)
        assert set(example.reference.cats) == {"german", "other", "quote"}
    assert [file.name for file in path.parent.iterdir()] == ["corpus.spacy"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "text", r"a.txt must end in one of .csv, .tsv, .jsonl, got '.txt'"),
        ("a.csv", "", "a.csv has no rows"),
        ("a.csv", "text,label\n", "a.csv has no rows"),
        (
            "a.csv",
            "text,intent\nhi,x\n",
            "a.csv: the header has no column 'label', only 'text', 'intent': name it with --label "
            'intent, in a config with label = "intent"; if the first line is no header, give --col',
        ),
        ("a.csv", "a,b\nhi,x\n", "no column 'text', only 'a', 'b': name it with --text NAME"),
        (
            "a.jsonl",
            '{"body": "hi", "label": "x"}\n',
            "line 1: the object has no key 'text', only 'body', 'label': name it with --text body",
        ),
        ("a.csv", "text,label\nhi,x\n\nhi,\n", "line 4: the label is empty"),
        ("a.csv", "text,label\n  ,x\n", "line 2: 'text' is empty"),
        ("a.csv", "text,label\nhi\n", r"line 2: expected 2 columns \(text, label\), got 1"),
        ("a.csv", "text,label\nhi,there,x\n", r"line 2: expected 2 columns .*, got 3"),
        ("a.csv", 'text,label\n"a\nb",x\n"hi,x\n', "line 4: unexpected end of data; check its"),
        ("a.csv", b"text,label\nhi,x\ncaf\xe9,y\n", "line 3: byte 4 is not UTF-8"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": \n', "line 2: not valid JSON"),
        ("a.jsonl", '["a", "x"]\n', r"line 1: expected a JSON object, got \["),
        ("a.jsonl", '{"text": 3, "label": "x"}', "line 1: 'text' must be text, got 3"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1: a label must be text or a whole nu"),
        ("a.jsonl", '{"text": "a", "label": ["x"]}', "line 1: a label must be text or a whole "),
    ],
)
def test_mistake_in_a_file_is_named_with_its_line(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_labelled_text(write(name, content))


def test_labels_that_are_no_list_are_refused(write):
    path = write("a.jsonl", '{"text": "a", "label": 1.5}')
    with pytest.raises(ValueError, match="line 1: the labels must be a list or text separated by"):
        read_labelled_text(path, labels="many")


def test_negative_limit_is_refused():
    build = registry.readers.get("spacy-torch.LabelledText.v1")
    with pytest.raises(ValueError, match=r"limit must be >= 0 \(0 reads every row\), got -1"):
        build(path="a.csv", limit=-1)
