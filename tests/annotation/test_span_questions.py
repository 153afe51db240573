"""Spans are asked about one by one, or all at once, and answers become examples."""

import json

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.training import Example
from spacy.util import registry
from tiny_encoder import ENCODER

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import find_questions
from spacy_torch.annotation.span_questions import cut_at

NER = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
SPANS = {"@architectures": "spacy-torch.SpanClassifier.v1", "encoder": ENCODER}
NAMES, VERBS = ("Ada", "Bob", "Eve", "Kim"), ("met", "saw", "called", "likes")
TEXTS = [f"{a} {verb} {b}" for a in NAMES for verb in VERBS for b in NAMES if a != b]
LABELS = ("PERSON", "PLACE")
BLANK = spacy.blank("en")


def make_nlp(factory="torch_ner"):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    model = NER if factory == "torch_ner" else SPANS
    config = {"model": model}
    if factory == "torch_spancat":
        config["suggester"] = {"@misc": "spacy-torch.NgramSpans.v1", "max_size": 2}
    component = nlp.add_pipe(factory, name="finder", config=config)
    example = Example(nlp.make_doc("Ada met Bob"), nlp.make_doc("Ada met Bob"))
    component.initialize(lambda: [example], nlp=nlp, labels=LABELS)
    return nlp


def make_learner(nlp, kind, *, journal=None, texts=TEXTS, **options):
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.02
    return ActiveLearner(
        nlp,
        find_questions(nlp, "finder", kind),
        [{"text": text} for text in texts],
        strategy=registry.torch_query_strategies.get("spacy-torch.Margin.v1")(),
        journal=journal,
        settings=Settings(**{"batch": 8, "epochs": 4, "drop": 0.0, **options}),
        optimizer=optimizer,
    )


def persons(text):
    """Places of the names, in characters."""
    places = [(text.index(word), text.index(word) + len(word)) for word in text.split()]
    return [place for place in places if text[slice(*place)] in NAMES]


def reply(task):
    if task["_view_id"].endswith("_manual"):
        spans = [{"start": a, "end": b, "label": "PERSON"} for a, b in persons(task["text"])]
        return {**task, "spans": spans, "answer": "accept"}
    (span,) = task["spans"]
    is_right = (span["start"], span["end"]) in persons(task["text"]) and span["label"] == "PERSON"
    return {**task, "answer": "accept" if is_right else "reject"}


def find(nlp, text):
    doc = nlp(text)
    spans = doc.ents if "doc.ents" in nlp.get_pipe_meta("finder").assigns else doc.spans["sc"]
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def count_right(nlp):
    found = [find(nlp, text) for text in TEXTS]
    wanted = [[(*place, "PERSON") for place in persons(text)] for text in TEXTS]
    return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(TEXTS)


FACTORIES = ("torch_ner", "torch_spancat")


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("kind", ["binary", "manual"])
def test_a_session_finds_the_spans(factory, kind):
    nlp = make_nlp(factory)
    learner = make_learner(nlp, kind)
    for _ in range(12):
        learner.receive([reply(task) for task in learner.ask()])
        if count_right(nlp) > 0.9:
            break
    assert count_right(nlp) > 0.9


@pytest.mark.parametrize(
    ("factory", "kind", "view"),
    [
        ("torch_ner", "binary", "ner"),
        ("torch_ner", "manual", "ner_manual"),
        ("torch_spancat", "binary", "spans"),
        ("torch_spancat", "manual", "spans_manual"),
    ],
)
def test_questions_are_tasks_of_an_interface(factory, kind, view):
    learner = make_learner(make_nlp(factory), kind)
    assert learner.questions.view_id == view
    for task in learner.ask():
        assert task["_view_id"] == view
        assert 0 <= task["meta"]["score"] <= 1
        assert json.loads(json.dumps(task)) == task
        doc = learner.nlp.make_doc(task["text"])
        for span in task["spans"]:
            part = doc[span["token_start"] : span["token_end"] + 1]
            assert (span["start"], span["end"]) == (part.start_char, part.end_char)
            assert span["label"] in LABELS
        if kind == "manual":
            assert [token["text"] for token in task["tokens"]] == [token.text for token in doc]
        else:
            assert len(task["spans"]) == 1


def test_what_the_component_finds_is_marked_already():
    nlp = make_nlp()
    learner = make_learner(nlp, "manual")
    while count_right(nlp) < 1:
        learner.receive([reply(task) for task in learner.ask()])
    (task,) = make_learner(nlp, "manual", texts=["Ada called Kim"]).ask()
    assert [(span["start"], span["end"], span["label"]) for span in task["spans"]] == [
        (0, 3, "PERSON"),
        (11, 14, "PERSON"),
    ]


def test_a_text_has_the_same_task_whatever_is_found_in_it():
    nlp = make_nlp()
    learner = make_learner(nlp, "manual", texts=TEXTS[:1])
    (before,) = learner.ask()
    for _ in range(30):
        learner.receive([reply(before)])
    (after,) = make_learner(nlp, "manual", texts=TEXTS[:1]).ask()
    assert after["spans"] != before["spans"]
    assert after["_task_hash"] == before["_task_hash"]


TEXT = "Ada met Bob"
ADA, BOB = {"start": 0, "end": 3, "label": "PERSON"}, {"start": 8, "end": 11, "label": "PERSON"}
ADA_MET = {"start": 0, "end": 7, "label": "PLACE"}


def answer(answer, *spans, whole=False, factory="torch_ner", text=TEXT):
    kind = "ner" if factory == "torch_ner" else "spans"
    view = f"{kind}_manual" if whole else kind
    return {"text": text, "spans": list(spans), "answer": answer, "_view_id": view}


def read(*tasks, factory="torch_ner"):
    return find_questions(make_nlp(factory), "finder", "binary").read(tasks)


def test_entities_that_were_not_asked_about_are_unknown():
    reference = read(answer("accept", ADA), answer("reject", BOB)).reference
    assert [token.ent_iob for token in reference] == [3, 0, 0]
    assert [(span.text, span.label_) for span in reference.ents] == [("Ada", "PERSON")]
    rejected = reference.spans["rejected"]
    assert [(span.text, span.label_) for span in rejected] == [("Bob", "PERSON")]


def test_what_is_not_marked_by_hand_is_outside():
    reference = read(answer("accept", BOB, whole=True)).reference
    assert [token.ent_iob for token in reference] == [2, 2, 3]
    reference = read(answer("accept", whole=True)).reference
    assert [token.ent_iob for token in reference] == [2, 2, 2]


def test_an_entity_takes_the_place_of_one_that_it_overlaps_spans_stand_beside_each_other():
    tasks = (answer("accept", ADA_MET), answer("accept", ADA))
    assert [span.text for span in read(*tasks).reference.ents] == ["Ada"]
    example = read(*tasks, factory="torch_spancat")
    assert [span.text for span in example.reference.spans["sc"]] == ["Ada met", "Ada"]


def test_spans_that_were_not_asked_about_are_unknown_unless_all_were_marked():
    group = read(answer("accept", ADA), factory="torch_spancat").reference.spans["sc"]
    assert group.attrs["complete"] is False
    task = answer("accept", ADA, whole=True, factory="torch_spancat")
    group = read(task, factory="torch_spancat").reference.spans["sc"]
    assert group.attrs["complete"] is True


def test_answers_that_say_nothing_make_no_example():
    assert read(answer("ignore", ADA)) is None
    assert read(answer("reject", ADA, BOB)) is None
    assert read(answer("reject", ADA, whole=True)) is None


def test_a_span_that_does_not_fit_the_tokens_is_counted_by_the_component():
    nlp = make_nlp()
    part = {"start": 1, "end": 3, "label": "PERSON"}
    example = find_questions(nlp, "finder").read([answer("accept", part, BOB)])
    assert [span.text for span in example.reference.ents] == ["da", "Bob"]
    nlp.get_pipe("finder").update([example])
    assert nlp.get_pipe("finder").skipped == {"misaligned entities": 1}


def test_the_key_of_rejected_spans_is_set_only_where_there_is_none():
    nlp = make_nlp()
    find_questions(nlp, "finder")
    assert nlp.get_pipe("finder").cfg["incorrect_spans_key"] == "rejected"
    nlp.get_pipe("finder").cfg["incorrect_spans_key"] = "wrong"
    example = find_questions(nlp, "finder").read([answer("reject", ADA)])
    assert [span.text for span in example.reference.spans["wrong"]] == ["Ada"]


def test_what_was_decided_is_not_asked_again():
    questions = find_questions(make_nlp(), "finder", "binary")
    given = [answer("accept", ADA)]
    assert questions.is_answered(answer("", ADA), given)
    assert questions.is_answered(answer("", ADA_MET), given)  # overlaps an entity
    assert not questions.is_answered(answer("", BOB), given)
    assert questions.is_answered(answer("", BOB), [answer("ignore", BOB)])
    assert questions.is_answered(answer("", BOB), [answer("accept", whole=True)])
    assert questions.is_settled([answer("accept", whole=True)])
    assert not questions.is_settled(given)
    spans = find_questions(make_nlp("torch_spancat"), "finder")
    assert not spans.is_answered(answer("", ADA_MET), given)


def test_a_session_ends_when_nothing_is_open():
    learner = make_learner(make_nlp(), "binary", texts=TEXTS[:3], window=1)
    n_asked = 0
    while tasks := learner.ask():
        n_asked += len(tasks)
        assert n_asked < 200
        learner.receive([reply(task) for task in tasks])
    assert learner.progress().n_left == 0


def test_labels_restrict_what_is_asked():
    nlp = make_nlp()
    questions = find_questions(nlp, "finder", "binary", labels=["PLACE"])
    docs = [nlp.make_doc(TEXT)]
    found = questions.ask([{"text": TEXT}], docs, np.random.default_rng(0))
    assert {question.task["label"] for question in found} == {"PLACE"}


def test_chance_says_how_often_all_spans_were_right():
    learner = make_learner(make_nlp(), "manual", epsilon=1.0)
    tasks = learner.ask()
    answers = [reply(task) for task in tasks]
    right = [
        [(s["start"], s["end"]) for s in task["spans"]] == persons(task["text"]) for task in tasks
    ]
    learner.receive(answers)
    assert learner.progress().accuracy == sum(right) / len(right)
    learner = make_learner(make_nlp(), "manual", epsilon=1.0)
    learner.receive([{**task, "answer": "accept"} for task in learner.ask()])
    assert learner.progress().accuracy == 1.0


def test_after_a_restart_the_same_spans_are_asked_about(tmp_path):
    path = tmp_path / "answers.jsonl"
    learner = make_learner(make_nlp(), "binary", journal=Journal(path))
    learner.receive([reply(task) for task in learner.ask()[:3]])
    again = make_learner(make_nlp(), "binary", journal=Journal(path))
    assert again.ask() == learner.ask()


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"start": 0, "end": 3, "label": "ODD"}, "about the label 'ODD'"),
        ({"start": 0, "end": 30, "label": "PERSON"}, "a span from 0 to 30, .* the 11 characters"),
        ({"start": 3, "end": 4, "label": "PERSON"}, "a span from 3 to 4"),
        ({"start": 5, "end": 5, "label": "PERSON"}, "a span from 5 to 5"),
        ({"start": None, "end": 3, "label": "PERSON"}, "must have 'start' and 'end'"),
        ({"start": 0, "end": 3}, "and a 'label', got"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(span, message):
    questions = find_questions(make_nlp(), "finder")
    with pytest.raises(ValueError, match=message):
        questions.check(answer("accept", span))


@pytest.mark.parametrize(
    ("name", "kind", "error", "message"),
    [
        ("other", None, ValueError, r"there is no component 'other': the pipeline has \['finder'"),
        ("finder", "choice", ValueError, r"must be one of \['binary', 'manual'\], got 'choice'"),
        (
            "sentencizer",
            None,
            ValueError,
            "about which there are no questions, only about doc.cats",
        ),
        ("ner", None, TypeError, "'ner' is a 'ner', which cannot say how sure it is"),
    ],
)
def test_a_component_that_cannot_be_asked_about_is_named(name, kind, error, message):
    nlp = make_nlp()
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("ner")
    with pytest.raises(error, match=message):
        find_questions(nlp, name, kind)


def test_the_first_component_that_can_be_asked_about_is_taken():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match="no component of .*sentencizer.* can be asked about"):
        find_questions(nlp)
    nlp.add_pipe("torch_textcat")
    assert find_questions(nlp).view_id == "choice"
    assert find_questions(nlp, kind="binary").view_id == "classification"


@given(st.text("ab .\n", min_size=1, max_size=12), st.sets(st.integers(0, 12)))
@settings(max_examples=60, deadline=None)
def test_cut_tokens_make_the_same_text_and_end_where_they_should(text, places):
    doc = BLANK.make_doc(text)
    cut = cut_at(doc, places)
    assert cut.text == text
    ends = {token.idx + len(token) for token in cut} | {token.idx for token in cut}
    inside = {p for token in doc for p in range(token.idx + 1, token.idx + len(token))}
    assert places & inside <= ends
    assert {token.idx + len(token) for token in doc} <= ends
