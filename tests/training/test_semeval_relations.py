"""Sentences of SemEval-2010 Task 8; the ones here are made up."""

import logging

import pytest
import spacy
from spacy.util import registry

from spacy_torch.features.relations import SpanRef
from spacy_torch.training.semeval_relations import (
    LABELS,
    MarkedSentence,
    read_marked_sentences,
)

FILE = """1\t"The <e1>rain</e1> caused the <e2>flood</e2>."
Cause-Effect(e1,e2)
Comment: none

2\t"A <e1>cat</e1> saw "the" <e2>garden gate</e2>."
Other
Comment:
"""


@pytest.fixture
def write(tmp_path):
    def write_file(content: str):
        path = tmp_path / "sentences.txt"
        path.write_bytes(content.replace("\n", "\r\n").encode("utf-8"))  # as released
        return path

    return write_file


def read_examples(path, **settings):
    block = {"@readers": "spacy-torch.SemEval2010Task8.v1", "path": str(path), **settings}
    read = registry.resolve({"corpus": block})["corpus"]
    return read, list(read(spacy.blank("en")))


def test_there_are_nineteen_labels():
    assert len(set(LABELS)) == 19


def test_marks_become_places_in_the_text(write):
    sentences = read_marked_sentences(write(FILE))
    assert sentences[0] == MarkedSentence(
        1, "The rain caused the flood.", (4, 8), (20, 25), "Cause-Effect(e1,e2)"
    )
    text = sentences[1].text
    assert text == 'A cat saw "the" garden gate.'
    assert [text[slice(*place)] for place in sentences[1][2:4]] == ["cat", "garden gate"]


def test_examples_are_given_the_nominals_and_know_the_relation(write):
    _, examples = read_examples(write(FILE))
    assert len(examples) == 2
    first = examples[0]
    for doc in (first.predicted, first.reference):
        assert [(ent.text, ent.label_) for ent in doc.ents] == [("rain", "e1"), ("flood", "e2")]
    assert first.reference._.relations == (
        (SpanRef(1, 2, "e1"), SpanRef(4, 5, "e2"), "Cause-Effect(e1,e2)", 1.0),
    )
    assert first.predicted._.relations == ()
    assert examples[1].reference._.relations[0].label == "Other"


def test_comments_may_be_missing_and_the_number_of_sentences_limited(write):
    path = write(FILE.replace("Comment: none\n", "").replace("Comment:\n", ""))
    assert len(read_marked_sentences(path)) == 2
    assert len(read_examples(path, limit=1)[1]) == 1


def test_parts_of_tokens_are_widened_or_skipped_and_counted(write, caplog):
    content = (
        '1\t"The <e1>rain</e1>4ever caused a <e2>flood</e2>."\nOther\n\n'
        '2\t"A <e1>rain</e1>4<e2>flood</e2> came."\nOther\n'
    )
    with caplog.at_level(logging.INFO):
        read, examples = read_examples(write(content))
        list(read(spacy.blank("en")))
    assert [ent.text for ent in examples[0].reference.ents] == ["rain4ever", "flood"]
    assert (len(examples), read.widened, read.skipped) == (1, 1, 1)
    (record,) = [record for record in caplog.records if "nominals" in record.message]
    assert "1 nominals were parts of tokens" in record.message
    assert "1 sentences were skipped" in record.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "sentences.txt has no sentences"),
        ('1\t"A <e1>b</e1> c."\nOther\n', r"line 1: expected a number, a tab .*, got '1\\t\"A <e1"),
        ("no sentence\nOther\n", "line 1: expected a number, a tab and a sentence in quotes"),
        (FILE.replace("Other", "Else(e1,e2)"), r"line 6: expected one of .*, got 'Else\(e1,e2\)'"),
        ('1\t"A <e1>b</e1> <e2>c</e2>"\n\n', "line 2: expected the label of the sentence before"),
        ('1\t"A <e1>b</e1> <e2>c</e2>"\n', "line 1: no label follows: the file is cut off"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_line(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_marked_sentences(write(content))


def test_negative_limit_is_refused():
    build = registry.readers.get("spacy-torch.SemEval2010Task8.v1")
    with pytest.raises(ValueError, match=r"limit must be >= 0 \(0 reads every sentence\), got -1"):
        build("a.txt", limit=-1)
