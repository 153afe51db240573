"""Sessions about spans with a simulated annotator: what is answered, measured and shown."""

import json
import re

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.util import registry

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.contestants import list_contestants
from spacy_torch.annotation.gold import Gold, read_gold, split_gold
from spacy_torch.annotation.oracle import Noise, Oracle
from spacy_torch.annotation.report import make_report
from spacy_torch.annotation.simulation import Protocol, find_kind, simulate
from spacy_torch.annotation.span_questions import Mark
from spacy_torch.annotation.span_subject import Found, SpanSubject
from spacy_torch.annotation.subjects import find_subject
from spacy_torch.annotation.tasks import set_hashes

ENCODER = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1}
NER = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
PEOPLE, PLACES = ("Ada", "Bo", "Cy", "Dee"), ("Rome", "Oslo", "Lima", "Bonn")


def mark(text, *names):
    marks = []
    for name in names:
        start = text.index(name)
        marks.append(Mark(start, start + len(name), "PER" if name in PEOPLE else "LOC"))
    return Gold(set_hashes({"text": text}), frozenset(marks))


GOLD = [mark(f"{who} lives in {where}", who, where) for who in PEOPLE for where in PLACES]
GOLD += [mark(f"we saw {who}", who) for who in PEOPLE]
GOLD += [mark(f"{where} is far away", where) for where in PLACES]
GOLD += [mark("nobody lives far away"), mark("we saw nobody")]
PROTOCOL = Protocol(answers=24, seeds=2, kind="binary", settings=Settings(batch=8, epochs=6))


def make_config(factory="torch_ner", **config):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, name="spans", config=config or {"model": NER})
    return nlp.config


def make_contestants(config, **kwargs):
    margin = registry.torch_query_strategies.get("spacy-torch.Margin.v1")()
    return list_contestants(config, strategy=margin, strategy_name="Margin", **kwargs)


def test_answers_are_those_of_someone_who_knows_the_spans():
    gold = mark("Ada lives in Rome", "Ada", "Rome")
    oracle = Oracle([gold], subject=SpanSubject())

    def ask(start, end, label):
        span = {"start": start, "end": end, "label": label}
        return oracle.answer(set_hashes({**gold.task, "spans": [span], "label": label}))["answer"]

    asked = [ask(0, 3, "PER"), ask(13, 17, "LOC"), ask(13, 17, "PER"), ask(0, 9, "PER")]
    assert asked == ["accept", "accept", "reject", "reject"]
    whole = {**gold.task, "spans": [], "_view_id": "ner_manual", "_task_hash": 1}
    answer = oracle.answer(whole)
    assert answer["answer"] == "accept"
    assert {Mark(**span) for span in answer["spans"]} == gold.true
    several = {**gold.task, "spans": [], "_task_hash": 2}
    with pytest.raises(ValueError, match="'Ada lives in Rome' is not about one span"):
        oracle.answer(several)


def test_mistakes_are_wrong_answers_and_overlooked_spans():
    gold = mark("Ada lives in Rome", "Ada", "Rome")
    oracle = Oracle([gold], noise=Noise(flipped=1.0), subject=SpanSubject())
    right = {**gold.task, "spans": [{"start": 0, "end": 3, "label": "PER"}], "_task_hash": 1}
    assert oracle.answer(right)["answer"] == "reject"
    whole = {**gold.task, "spans": [], "_view_id": "ner_manual"}
    found = [oracle.answer({**whole, "_task_hash": number})["spans"] for number in range(20)]
    assert {len(spans) for spans in found} == {1}
    assert {span["label"] for (span,) in found} == {"PER", "LOC"}
    nothing = mark("we saw nobody")
    oracle = Oracle([nothing], noise=Noise(flipped=1.0), subject=SpanSubject())
    answer = oracle.answer({**nothing.task, "_view_id": "ner_manual", "_task_hash": 1})
    assert answer["spans"] == []


def test_the_measure_is_the_f_of_spans_and_the_error_that_of_likely_ones():
    a, b, c = Mark(0, 1, "A"), Mark(2, 3, "A"), Mark(4, 5, "B")
    found = [
        [Found(frozenset([a]), {a: 0.95, b: 0.45}), Found(frozenset([c]), {c: 0.85})],
        [Found(frozenset(), {})],
    ]
    true = [frozenset([a, b]), frozenset(), frozenset([c])]
    score, error = SpanSubject().measure(found, true, labels=["A", "B"], exclusive=False)
    assert score == pytest.approx(2 * 1 / (2 + 3))  # one of two found, of three that are there
    assert error == pytest.approx((0.05 + 0.55 + 0.85) / 3)
    nothing = SpanSubject().measure([[found[1][0]]], [frozenset()], labels=["A"], exclusive=False)
    assert nothing == (1.0, 0.0)


@pytest.mark.parametrize("kind", ["binary", "manual"])
def test_a_session_about_entities_learns_and_is_reported(kind):
    data = split_gold(GOLD, subject="spans")
    assert (data.labels, data.exclusive, find_kind(data)) == (["LOC", "PER"], False, "binary")
    settings = Settings(batch=8, epochs=12)
    protocol = Protocol(answers=24, seeds=2, kind=kind, settings=settings)
    contestants = make_contestants(make_config(), settings=settings)
    found = simulate(data, contestants, protocol, ceiling=True)
    # Only what suits spans takes part.
    assert found.names == ["the model, Margin", "the model, random order"]
    assert found.metric == "F of spans"
    for run in found.runs:
        views = [task["_view_id"] for task in run.answered]
        later = "ner" if kind == "binary" else "ner_manual"
        assert views[:8] == ["ner_manual"] * 8
        assert set(views[8:]) <= {later}
        assert run.checkpoints[-1].score > 0.3
        asked = {task["text"] for task in run.answered}
        rarest = sum(
            gold.task["text"] in asked and data.rarest in gold.labels for gold in data.pool
        )
        assert run.checkpoints[-1].n_found == rarest
    page = make_report(found)
    assert "F of spans" in page
    assert "always the same answer" not in page
    assert "which spans?" in page
    assert bool(re.search(r">[\w ]+ \[(LOC|PER)\]\?<", page)) == (kind == "binary")


def test_a_session_about_a_group_of_spans():
    data = split_gold(GOLD, subject="spans")
    suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1]}
    config = make_config("torch_spancat", suggester=suggester)
    (contestant,) = make_contestants(config, baselines=[], settings=PROTOCOL.settings)
    (run, _) = simulate(data, [contestant], PROTOCOL).runs
    assert [point.n_answers for point in run.checkpoints] == [8, 16, 24]
    assert run.checkpoints[-1].score > 0.3
    assert {task["_view_id"] for task in run.answered} == {"spans_manual", "spans"}


def test_gold_spans_are_read_from_both_formats(tmp_path, caplog):
    nlp = spacy.blank("en")
    docs = []
    for gold in GOLD[:3]:
        doc = nlp.make_doc(gold.task["text"])
        spans = [doc.char_span(one.start, one.end, one.label) for one in gold.true]
        doc.set_ents(spans)
        doc.spans["people"] = [span for span in spans if span.label_ == "PER"]
        docs.append(doc)
    docs.append(nlp.make_doc("nobody has looked at this"))
    DocBin(docs=docs).to_disk(tmp_path / "gold.spacy")
    assert read_gold(tmp_path / "gold.spacy", subject="spans") == GOLD[:3]
    assert "1 records have no spans" in caplog.text
    people = read_gold(tmp_path / "gold.spacy", subject="spans", group="people")
    assert [[one.label for one in gold.true] for gold in people] == [["PER"]] * 3
    lines = [
        {**gold.task, "spans": [one._asdict() for one in gold.true], "answer": "accept"}
        for gold in GOLD[:3]
    ]
    lines += [{"text": "no spans"}, {**lines[0], "text": "wrong", "answer": "reject"}]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_gold(tmp_path / "gold.jsonl", subject="spans") == GOLD[:3]
    with pytest.raises(ValueError, match=r"gold.spacy: none of its 4 records has labels.*doc.cats"):
        read_gold(tmp_path / "gold.spacy")
    with pytest.raises(ValueError, match=r"none of its 4 .* has spans: .* doc.spans\['x'\]"):
        read_gold(tmp_path / "gold.spacy", subject="spans", group="x")


def test_the_subject_is_that_of_the_component():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"no component of \['sentencizer'\] can be simulated"):
        find_subject(nlp)
    nlp.add_pipe("torch_ner")
    nlp.add_pipe("torch_textcat")
    assert find_subject(nlp).name == "spans"
    assert find_subject(nlp, "torch_textcat").name == "classes"
    with pytest.raises(ValueError, match="there is no component 'ner': the pipeline has"):
        find_subject(nlp, "ner")
    assert np.isclose(SpanSubject().chance([], labels=[], exclusive=False), 0)
