"""Lines of Prodigy's relations interface."""

import json
import logging

import pytest
import spacy
from spacy.util import registry

from spacy_torch.features.relations import has_all_relations, has_relations

ANN = {"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PERSON"}
ACME = {"start": 9, "end": 13, "token_start": 2, "token_end": 2, "label": "ORG"}
RUNS = {"head": 0, "child": 2, "head_span": ANN, "child_span": ACME, "label": "runs"}
TOKENS = [
    {"text": "Ann", "start": 0, "end": 3, "id": 0, "ws": True},
    {"text": "runs", "start": 4, "end": 8, "id": 1, "ws": True},
    {"text": "Acme", "start": 9, "end": 13, "id": 2, "ws": False},
]
TASK = {
    "text": "Ann runs Acme",
    "tokens": TOKENS,
    "spans": [ANN, ACME],
    "relations": [RUNS],
    "answer": "accept",
}
BACK = {"head_span": ACME, "child_span": ANN, "label": "hires"}


@pytest.fixture
def read(tmp_path):
    def read_tasks(*tasks, **settings):
        path = tmp_path / "tasks.jsonl"
        lines = [task if isinstance(task, str) else json.dumps(task) for task in tasks]
        path.write_text("\n".join(lines), encoding="utf8")
        block = {"@readers": "spacy-torch.ProdigyRelations.v1", "path": str(path), **settings}
        reader = registry.resolve({"corpus": block})["corpus"]
        return reader, list(reader(spacy.blank("en")))

    return read_tasks


def relations_of(doc):
    return [
        (doc[head.start : head.end].text, doc[tail.start : tail.end].text, label, score)
        for head, tail, label, score in doc._.relations
    ]


def test_accepted_line_has_all_relations_of_its_spans(read):
    _, (example,) = read(TASK)
    assert relations_of(example.reference) == [("Ann", "Acme", "runs", 1.0)]
    assert has_all_relations(example.reference)
    for doc in (example.reference, example.predicted):
        assert [(ent.text, ent.label_) for ent in doc.ents] == [("Ann", "PERSON"), ("Acme", "ORG")]
    assert example.reference._.relations[0].head.label == "PERSON"
    assert not has_relations(example.predicted)


def test_rejected_relation_is_known_to_be_wrong_and_nothing_else_is_known(read):
    _, (example,) = read({**TASK, "answer": "reject"})
    assert relations_of(example.reference) == [("Ann", "Acme", "runs", 0.0)]
    assert not has_all_relations(example.reference)


def test_lines_that_say_nothing_are_skipped_and_counted_once(read, caplog):
    skipped = [
        {**TASK, "answer": "ignore"},
        {**TASK, "answer": "reject", "relations": [RUNS, BACK]},
        {"text": "Ann", "spans": [], "answer": "reject"},
    ]
    with caplog.at_level(logging.WARNING):
        reader, examples = read(TASK, *skipped)
        list(reader(spacy.blank("en")))
    assert len(examples) == 1
    (record,) = caplog.records
    assert "3 lines skipped that are ignored, or rejected as a whole" in record.message


def test_line_of_another_interface_gives_spans_and_knows_nothing_of_relations(read):
    _, (example,) = read({"text": "Ann runs Acme", "spans": [ANN], "answer": "accept"})
    assert [ent.text for ent in example.reference.ents] == ["Ann"]
    assert not has_relations(example.reference)


def test_label_for_unrelated_spans_is_no_relation(read):
    none = {"head_span": ACME, "child_span": ANN, "label": "none"}
    _, (example,) = read({**TASK, "relations": [RUNS, none]}, unrelated=["none"])
    assert [label for *_, label, _ in relations_of(example.reference)] == ["runs"]
    assert has_all_relations(example.reference)


def test_relations_may_name_tokens_and_spans_of_their_own(read):
    by_token = {"head": 0, "child": 1, "label": "does"}
    _, (example,) = read({**TASK, "relations": [by_token]})
    assert relations_of(example.reference) == [("Ann", "runs", "does", 1.0)]
    assert [(ent.text, ent.label_) for ent in example.reference.ents] == [
        ("Ann", "PERSON"),
        ("runs", "SPAN"),
        ("Acme", "ORG"),
    ]
    unlabelled = {**RUNS, "head_span": {"start": 0, "end": 3}}
    _, (example,) = read({**TASK, "relations": [unlabelled]})
    assert example.reference._.relations[0].head.label == "PERSON"


def test_tokens_of_the_file_are_those_of_the_reference(read):
    parts = [{"text": "An"}, {"text": "n"}, {"text": "runs"}, {"text": "Acme"}]
    _, (example,) = read({**TASK, "tokens": parts})
    assert [token.text for token in example.reference] == ["An", "n", "runs", "Acme"]
    assert [token.text for token in example.predicted] == ["Ann", "runs", "Acme"]
    assert [ent.text for ent in example.predicted.ents] == ["Ann", "Acme"]


def test_spans_that_fit_no_tokens_are_left_out_and_counted(read, caplog):
    parts = [{"text": "An"}, {"text": "n"}, {"text": "runs"}, {"text": "Acme"}]
    short = {**RUNS, "head_span": {"start": 0, "end": 2}}
    with caplog.at_level(logging.WARNING):
        reader, (example,) = read({**TASK, "tokens": parts, "spans": [], "relations": [short]})
    assert reader.counts == {"spans that do not fit the pipeline's tokens": 1}
    assert [ent.text for ent in example.predicted.ents] == ["Acme"]
    reader, (example,) = read({**TASK, "relations": [short]})
    assert reader.counts == {"spans left out that do not begin and end with a token": 1}
    assert relations_of(example.reference) == []


def test_overlapping_spans_need_a_group(read):
    wide = {"start": 0, "end": 8, "label": "X"}
    task = {**TASK, "spans": [ANN, ACME, wide]}
    reader, (example,) = read(task)
    assert [ent.text for ent in example.reference.ents] == ["Ann runs", "Acme"]
    assert sum(reader.counts.values()) == 1
    reader, (example,) = read(task, spans_key="sc")
    assert {span.text for span in example.predicted.spans["sc"]} == {"Ann", "Acme", "Ann runs"}
    assert not reader.counts
    assert relations_of(example.reference) == [("Ann", "Acme", "runs", 1.0)]


def test_number_of_lines_may_be_limited(read):
    assert len(read(TASK, TASK, TASK, limit=2)[1]) == 2


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ({"spans": []}, "line 2: 'text' must be text that is not empty, got None"),
        ({**TASK, "answer": "yes"}, "line 2: 'answer' must be one of accept, reject, ignore"),
        ({**TASK, "spans": "x"}, "line 2: 'spans' must be a list, got 'x'"),
        (
            {**TASK, "spans": [{"start": 0, "end": 14}]},
            "line 2: a span must have 'start' and 'end'",
        ),
        ({**TASK, "spans": [None]}, "line 2: a span must have 'start' and 'end' within the 13 cha"),
        ({**TASK, "relations": ["x"]}, "line 2: a relation must be an object, got 'x'"),
        ({**TASK, "relations": [{**RUNS, "label": ""}]}, "line 2: a relation must have a label"),
        (
            {**TASK, "relations": [{"head": 0, "child": 3, "label": "x"}]},
            "line 2: a relation must have 'head_span' and 'child_span', or .*, got 3",
        ),
        ({**TASK, "tokens": ["Ann"]}, "line 2: each of 'tokens' must have a 'text'"),
        ({**TASK, "tokens": [{"text": "Bob"}]}, "line 2: the tokens are not those of the text"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_line(read, task, message):
    with pytest.raises(ValueError, match=message):
        read(TASK, task)


def test_file_without_usable_lines_is_refused(read):
    with pytest.raises(ValueError, match="has no usable lines: 1 lines skipped"):
        read({**TASK, "answer": "ignore"})
    with pytest.raises(ValueError, match="has no usable lines: it is empty"):
        read("")


def test_negative_limit_is_refused(read):
    with pytest.raises(ValueError, match=r"limit must be >= 0 \(0 reads every line\), got -1"):
        read(TASK, limit=-1)
