"""What a span categorizer learns where only a part of the spans is known."""

import itertools

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.components.gold_spans import GoldSpans
from spacy_torch.features.suggestions import Suggestions

MODEL = {"@architectures": "spacy-torch.SpanClassifier.v1", "encoder": ENCODER, "hidden_width": 32}
EXCLUSIVE = {**MODEL, "exclusive_classes": True}
PROPOSER = {"@misc": "spacy-torch.SpanProposer.v1", "rank": 8, "per_token": 0.0, "at_least": 2}
WORDS = ["two", "big", "pizzas"]
LABELS = ["order", "thing", "time"]


def make_nlp(model=MODEL):
    nlp = spacy.blank("en")
    loss = "CrossEntropy" if model.get("exclusive_classes") else "BinaryCrossEntropy"
    config = {
        "model": model,
        "loss": {"@torch_losses": f"spacy-torch.{loss}.v1"},
        "incorrect_spans_key": "wrong",
    }
    component = nlp.add_pipe("torch_spancat", config=config, name="spancat")
    example = Example(Doc(nlp.vocab, WORDS), Doc(nlp.vocab, WORDS))
    component.initialize(lambda: [example], nlp=nlp, labels=LABELS)
    return nlp


def make_example(nlp, accepted, rejected=(), *, complete=False, words=WORDS):
    reference = Doc(nlp.vocab, WORDS, spaces=[False] * 3)
    if accepted is not None:
        spans = [Span(reference, *place) for place in accepted]
        attrs = {} if complete else {"complete": False}
        reference.spans["sc"] = SpanGroup(reference, spans=spans, attrs=attrs)
    if rejected is not None:
        reference.spans["wrong"] = [Span(reference, *place) for place in rejected]
    return Example(Doc(nlp.vocab, words, spaces=[False] * len(words)), reference)


def rows_of(nlp, words=WORDS):
    doc = Doc(nlp.vocab, words, spaces=[False] * len(words))
    (found,) = nlp.get_pipe("spancat").probabilities([doc])
    return {(span.start, span.end): row for span, row in found}


def loss_of(nlp, example):
    return nlp.get_pipe("spancat").update([example])["spancat"]  # without a step


def test_loss_has_one_term_for_each_verdict():
    nlp = make_nlp()
    rows = rows_of(nlp)
    example = make_example(nlp, [(0, 3, "order")], [(0, 3, "time"), (1, 2, "thing")])
    yes = rows[0, 3]["order"]
    no = [1 - rows[0, 3]["time"], 1 - rows[1, 2]["thing"]]
    assert loss_of(nlp, example) == pytest.approx(-numpy.log([yes, *no]).sum(), rel=1e-5)


def test_exclusive_loss_of_a_rejected_label_leaves_the_others_and_none_open():
    nlp = make_nlp(EXCLUSIVE)
    rows = rows_of(nlp)
    example = make_example(nlp, [(0, 3, "order")], [(1, 2, "thing")])
    expected = -numpy.log(rows[0, 3]["order"]) - numpy.log(1 - rows[1, 2]["thing"])
    assert loss_of(nlp, example) == pytest.approx(expected, rel=1e-5)


def test_exclusive_span_without_any_of_the_labels_has_none():
    nlp = make_nlp(EXCLUSIVE)
    none = 1 - sum(rows_of(nlp)[1, 2].values())
    example = make_example(nlp, [], [(1, 2, label) for label in LABELS])
    assert loss_of(nlp, example) == pytest.approx(-numpy.log(none), rel=1e-5)


def test_rejected_spans_are_known_without_a_group_of_spans():
    nlp = make_nlp()
    expected = -numpy.log(1 - rows_of(nlp)[0, 1]["time"])
    assert loss_of(nlp, make_example(nlp, None, [(0, 1, "time")])) == pytest.approx(
        expected, rel=1e-5
    )


def test_incomplete_group_without_verdicts_trains_nothing():
    nlp = make_nlp()
    assert loss_of(nlp, make_example(nlp, [])) == 0.0
    assert loss_of(nlp, make_example(nlp, None, None)) == 0.0


def test_complete_group_is_the_same_with_and_without_rejected_spans():
    nlp = make_nlp()
    given = [(0, 3, "order")]
    rejected = [(0, 3, "time"), (1, 2, "thing")]
    expected = loss_of(nlp, make_example(nlp, given, complete=True))
    assert loss_of(nlp, make_example(nlp, given, rejected, complete=True)) == expected


@pytest.mark.parametrize(
    "model", [MODEL, EXCLUSIVE, {**MODEL, "proposer": PROPOSER}], ids=["many", "one", "proposer"]
)
def test_verdicts_are_learned_and_the_rest_is_not_pressed_down(model):
    nlp = make_nlp(model)
    before = rows_of(nlp)
    example = make_example(nlp, [(0, 3, "order")], [(1, 2, "thing")])
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(80):
        nlp.update([example], sgd=optimizer)
    after = rows_of(nlp)
    assert after[0, 3]["order"] > 0.9
    if (1, 2) in after:  # the proposer may leave it out now
        assert after[1, 2]["thing"] < 0.1
    # Taken for complete, the unknown label of the accepted span would be near zero.
    if model is MODEL:
        assert after[0, 3]["thing"] > before[0, 3]["thing"] / 5


def test_rejected_spans_that_cannot_be_used_are_counted():
    nlp = make_nlp()
    given, rejected = [(0, 3, "order")], [(0, 3, "order"), (0, 1, "odd"), (1, 2, "time")]
    loss_of(nlp, make_example(nlp, given, rejected, words=["twobi", "g", "pizzas"]))
    assert nlp.get_pipe("spancat").skipped == {
        "rejected spans that are there": 1,
        "misaligned rejected spans": 2,
    }
    nlp = make_nlp()
    loss_of(nlp, make_example(nlp, given, rejected))
    assert nlp.get_pipe("spancat").skipped == {
        "rejected spans that are there": 1,
        "rejected spans with other labels": 1,
    }


def test_what_is_said_of_incomplete_spans_survives_saving():
    nlp = make_nlp()
    example = make_example(nlp, [(0, 3, "order")], [(1, 2, "thing")])
    expected = loss_of(nlp, example)
    restored = Doc(nlp.vocab).from_bytes(example.reference.to_bytes())
    assert loss_of(nlp, Example(example.predicted, restored)) == expected


def test_a_proposer_learns_that_a_span_without_any_label_is_not_wanted():
    nlp = make_nlp()
    # Three spans: accepted; without any of the labels; without one of them.
    rejected = [*((0, 2, label) for label in LABELS), (1, 2, "order")]
    example = make_example(nlp, [(0, 3, "order")], rejected)
    columns = {label: column for column, label in enumerate(LABELS)}
    gold = GoldSpans.read([example], "sc", columns, rejected_key="wrong")
    places = numpy.array(list(itertools.combinations(range(4), 2)))
    spans = Suggestions(*places.T, numpy.array([len(places)]), numpy.zeros(len(places), bool))
    rows = spans.find(gold.doc_ids, gold.starts, gold.ends)
    wanted = gold.wanted(spans, rows, n_labels=3)[:, 0]
    known = {tuple(place): value for place, value in zip(places.tolist(), wanted, strict=True)}
    assert (known[0, 3], known[0, 2]) == (1.0, 0.0)
    assert numpy.isnan([known[1, 2], known[0, 1], known[2, 3]]).all()
