"""What the component for relations learns from, writes and refuses."""

import json
from functools import partial
from typing import Any

import numpy
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim
from spacy_torch.components.relation_targets import RelationTargets
from spacy_torch.components.skipped import Skipped
from spacy_torch.features.relations import Relation, SpanRef, register_relations, set_relations
from spacy_torch.features.span_pairs import build_entity_pairs
from spacy_torch.nn import relation_classifier

PAIRS = {"@misc": "spacy-torch.EntityPairs.v1"}
# The words, the entities, and the relations between them as (head, tail, label).
TEXTS = [
    ("Ann runs Acme", {"Ann": "PERSON", "Acme": "ORG"}, [("Ann", "Acme", "runs")]),
    ("Acme sued Bob", {"Acme": "ORG", "Bob": "PERSON"}, [("Acme", "Bob", "sues")]),
    ("Bob met Ann", {"Bob": "PERSON", "Ann": "PERSON"}, []),
]


def make_nlp(*, exclusive: bool = True, pairs: dict[str, Any] = PAIRS, **config: Any) -> Language:
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-torch.RelationClassifier.v1",
        "encoder": ENCODER,
        "candidates": pairs,
        "exclusive_classes": exclusive,
        "hidden_width": 16,
    }
    if not exclusive:
        config["loss"] = {"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"}
    nlp.add_pipe("torch_relations", config={"model": model, **config})
    return nlp


def make_doc(nlp: Language, text: str, entities: dict[str, str]) -> Doc:
    doc = nlp.make_doc(text)
    words = text.split()
    doc.ents = [
        Span(doc, words.index(word), words.index(word) + 1, label=label)
        for word, label in entities.items()
    ]
    return doc


def make_example(
    nlp: Language,
    text: str,
    entities: dict[str, str],
    relations: list[tuple[str, ...]],
    *,
    complete: bool = True,
) -> Example:
    reference = make_doc(nlp, text, entities)
    words = text.split()
    rows = [
        (*((words.index(word), words.index(word) + 1) for word in ends), label, *score)
        for *ends, label, score in [(*row, ()) if len(row) == 3 else row for row in relations]
    ]
    set_relations(reference, rows, complete=complete)
    return Example(nlp.make_doc(text), reference)


def train(nlp: Language, texts=TEXTS, *, steps: int = 60) -> list[Example]:
    examples = [make_example(nlp, *text) for text in texts]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return examples


def relations_of(nlp: Language, text: str, entities: dict[str, str]) -> set[tuple[str, str, str]]:
    doc = nlp(make_doc(nlp, text, entities))
    return {
        (doc[head.start : head.end].text, doc[tail.start : tail.end].text, label)
        for head, tail, label, _ in doc._.relations
    }


@pytest.mark.parametrize("exclusive", [True, False])
def test_gold_entities_are_trained_on_and_given_ones_related(exclusive):
    nlp = make_nlp(exclusive=exclusive)
    examples = train(nlp)
    assert not any(eg.predicted.ents for eg in examples)
    for text, entities, expected in TEXTS:
        assert relations_of(nlp, text, entities) == set(expected)


def test_a_relation_is_written_with_its_spans_and_its_probability():
    nlp = make_nlp()
    train(nlp)
    doc = make_doc(nlp, *TEXTS[0][:2])
    (relation,) = nlp(doc)._.relations
    assert relation[:3] == (SpanRef(0, 1, "PERSON"), SpanRef(2, 3, "ORG"), "runs")
    (found,) = nlp.get_pipe("torch_relations").probabilities([doc])
    by_pair = {(head.text, tail.text): row for (head, tail), row in found}
    assert relation.score == pytest.approx(by_pair["Ann", "Acme"]["runs"], abs=1e-6)
    assert by_pair["Acme", "Ann"]["runs"] < 0.5
    assert (found.values.sum(1) < 1).all()  # the rest is the probability of no relation


def test_probabilities_change_nothing_and_answer_without_pairs():
    nlp = make_nlp()
    train(nlp, steps=1)
    docs = [nlp.make_doc(""), nlp.make_doc("nobody"), make_doc(nlp, *TEXTS[0][:2])]
    found = nlp.get_pipe("torch_relations").probabilities(docs)
    assert [each.values.shape for each in found] == [(0, 2), (0, 2), (2, 2)]
    assert not any(doc.user_data for doc in docs)
    assert nlp.get_pipe("torch_relations").probabilities([]) == []


def test_threshold_says_what_is_written():
    nlp = make_nlp(threshold=1.0)
    train(nlp)
    text, entities, expected = TEXTS[0]
    assert relations_of(nlp, text, entities) == set()
    nlp.get_pipe("torch_relations").cfg["threshold"] = 0.0
    # The best label of each pair, however unlikely.
    assert len(relations_of(nlp, text, entities)) == 2
    nlp.get_pipe("torch_relations").cfg["threshold"] = 0.5
    assert relations_of(nlp, text, entities) == set(expected)


def test_untrained_model_relates_nothing():
    nlp = make_nlp()
    train(nlp, steps=0)
    assert relations_of(nlp, *TEXTS[0][:2]) == set()


def test_label_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    examples = train(nlp)
    before = nlp.get_pipe("torch_relations").probabilities([make_doc(nlp, *TEXTS[0][:2])])
    nlp.get_pipe("torch_relations").add_label("visits")
    assert nlp.get_pipe("torch_relations").labels == ("runs", "sues", "visits")
    after = nlp.get_pipe("torch_relations").probabilities([make_doc(nlp, *TEXTS[0][:2])])
    # Softmax shares: what the labels had among themselves stays in proportion.
    ratio = after[0].values[:, :2] / before[0].values
    numpy.testing.assert_allclose(ratio, ratio[:, :1].repeat(2, axis=1), rtol=1e-4)
    new = ("Ann visits Bob", {"Ann": "PERSON", "Bob": "PERSON"}, [("Ann", "Bob", "visits")])
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update([*examples, make_example(nlp, *new)], sgd=optimizer)
    for text, entities, expected in [*TEXTS, new]:
        assert relations_of(nlp, text, entities) == set(expected)


def test_reference_without_relations_trains_nothing():
    nlp = make_nlp()
    train(nlp, steps=0)
    reference = make_doc(nlp, *TEXTS[0][:2])
    losses = nlp.update([Example(nlp.make_doc(TEXTS[0][0]), reference)], sgd=nlp.create_optimizer())
    assert losses == {"torch_relations": 0.0}
    module = get_shim(nlp.get_pipe("torch_relations").logits_model).module
    assert not module.output.weight.any()
    assert not module.output.bias.any()


def test_spans_that_were_there_come_back_after_training():
    nlp = make_nlp()
    examples = train(nlp, steps=0)
    predicted = examples[0].predicted
    predicted.ents = [Span(predicted, 1, 2, label="MINE")]
    predicted.spans["mine"] = [predicted[0:2]]
    examples[0].reference.spans["theirs"] = [examples[0].reference[0:1]]
    nlp.update(examples, sgd=nlp.create_optimizer())
    assert [(span.text, span.label_) for span in predicted.ents] == [("runs", "MINE")]
    assert {key: [span.text for span in group] for key, group in predicted.spans.items()} == {
        "mine": ["Ann runs"]
    }


def test_own_spans_are_trained_on_if_asked_for():
    nlp = make_nlp(use_gold_spans=False)
    examples = train(nlp)
    assert relations_of(nlp, *TEXTS[0][:2]) == set()
    for example, (_, entities, _) in zip(examples, TEXTS, strict=True):
        example.predicted.ents = make_doc(nlp, example.text, entities).ents
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    assert relations_of(nlp, *TEXTS[0][:2]) == {("Ann", "Acme", "runs")}


def test_groups_of_spans_may_be_related_too():
    nlp = make_nlp(pairs={**PAIRS, "spans_key": "sc"})
    examples = []
    for text in TEXTS:
        example = make_example(nlp, *text)
        example.reference.spans["sc"] = list(example.reference.ents)
        example.reference.ents = []
        examples.append(example)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    doc = nlp.make_doc("Ann runs Acme")
    doc.spans["sc"] = [doc[0:1], doc[2:3]]
    assert [relation[:3] for relation in nlp(doc)._.relations] == [
        (SpanRef(0, 1), SpanRef(2, 3), "runs")
    ]


def read_targets(nlp: Language, examples: list[Example], **options: Any) -> numpy.ndarray:
    settings = {"labels": ("runs", "sues"), "exclusive": True, "negative_rate": 1.0}
    pairs = [build_entity_pairs()(make_doc(nlp, eg.text, ENTITIES[eg.text])) for eg in examples]
    targets = options.pop("targets", None) or RelationTargets(0)
    return targets.read(examples, pairs, **{**settings, **options})


ENTITIES = {text: entities for text, entities, _ in TEXTS}
NAN = numpy.nan


@pytest.mark.parametrize(
    ("relations", "complete", "exclusive", "expected"),
    [
        # The pairs are (Ann, Acme) and (Acme, Ann), the first column that of no relation.
        ([("Ann", "Acme", "runs")], True, True, [[0, 1, 0], [1, 0, 0]]),
        ([("Ann", "Acme", "runs")], False, True, [[0, 1, 0], [NAN, NAN, NAN]]),
        ([("Ann", "Acme", "runs", (0.0,))], False, True, [[NAN, 0, NAN], [NAN, NAN, NAN]]),
        ([("Ann", "Acme", "runs", (0.0,))], True, True, [[1, 0, 0], [1, 0, 0]]),
        ([("Ann", "Acme", "runs"), ("Ann", "Acme", "sues")], True, True, [[0, 1, 1], [1, 0, 0]]),
        ([("Ann", "Acme", "else")], True, True, [[NAN, NAN, NAN], [1, 0, 0]]),
        ([("Ann", "Acme", "runs")], True, False, [[1, 0], [0, 0]]),
        ([("Ann", "Acme", "runs")], False, False, [[1, NAN], [NAN, NAN]]),
        ([("Ann", "Acme", "runs", (0.0,))], False, False, [[0, NAN], [NAN, NAN]]),
    ],
)
def test_only_what_is_known_becomes_a_target(relations, complete, exclusive, expected):
    nlp = spacy.blank("en")
    example = make_example(
        nlp, "Ann runs Acme", ENTITIES["Ann runs Acme"], relations, complete=complete
    )
    found = read_targets(nlp, [example], exclusive=exclusive)
    numpy.testing.assert_array_equal(found, numpy.array(expected, dtype="float32"))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("complete", "exclusive", "expected"),
    [
        (True, False, [[1, 0], [0, 0]]),
        (False, False, [[1, NAN], [NAN, NAN]]),
        (True, True, [[0, 1, 0], [1, 0, 0]]),
        (False, True, [[0, 1, 0], [NAN, NAN, NAN]]),
    ],
)
def test_unknown_label_hides_no_known_one_in_any_order(order, complete, exclusive, expected):
    nlp = spacy.blank("en")
    relations = [("Ann", "Acme", "runs"), ("Ann", "Acme", "else")][::order]
    example = make_example(
        nlp, "Ann runs Acme", ENTITIES["Ann runs Acme"], relations, complete=complete
    )
    found = read_targets(nlp, [example], exclusive=exclusive)
    numpy.testing.assert_array_equal(found, numpy.array(expected, dtype="float32"))


@pytest.mark.parametrize(
    ("head", "tail", "related"),
    [
        ("PERSON", "ORG", {("PERSON", "ORG")}),
        ("FOUNDER", "ORG", {("FOUNDER", "ORG")}),
        ("FOUNDER", "", {("FOUNDER", "ORG")}),
        ("", "", {("PERSON", "ORG"), ("FOUNDER", "ORG")}),
    ],
)
def test_of_spans_on_the_same_tokens_those_with_the_labels_are_related(head, tail, related):
    nlp = spacy.blank("en")
    doc, reference = nlp.make_doc("Ann runs Acme"), nlp.make_doc("Ann runs Acme")
    doc.spans["sc"] = [
        Span(doc, *place) for place in [(0, 1, "PERSON"), (0, 1, "FOUNDER"), (2, 3, "ORG")]
    ]
    set_relations(reference, [(SpanRef(0, 1, head), SpanRef(2, 3, tail), "runs")])
    pairs = build_entity_pairs(spans_key="sc")(doc)
    settings = {"labels": ("runs",), "exclusive": True, "negative_rate": 1.0}
    found = RelationTargets(0).read([Example(doc, reference)], [pairs], **settings)
    rows = zip(pairs, found.tolist(), strict=True)
    assert {(a.label_, b.label_) for (a, b), row in rows if row == [0, 1]} == related
    assert (found.sum(1) == 1).all()


def test_share_of_unrelated_pairs_is_drawn_anew_and_alike_for_equal_seeds():
    nlp = spacy.blank("en")
    examples = [make_example(nlp, *text) for text in TEXTS * 100]
    full = read_targets(nlp, examples)
    unrelated = full[:, 0] == 1
    one, other = RelationTargets(3), RelationTargets(3)
    drawn = [read_targets(nlp, examples, negative_rate=0.25, targets=one) for _ in range(2)]
    numpy.testing.assert_array_equal(
        drawn[0], read_targets(nlp, examples, negative_rate=0.25, targets=other)
    )
    kept = ~numpy.isnan(drawn[0]).any(axis=1)
    assert not numpy.array_equal(kept, ~numpy.isnan(drawn[1]).any(axis=1))
    assert kept[~unrelated].all()
    assert 0.15 < kept[unrelated].mean() < 0.35
    numpy.testing.assert_array_equal(drawn[0][kept], full[kept])


def test_draws_go_on_where_another_process_was():
    one, other = make_nlp(negative_rate=0.5), make_nlp(negative_rate=0.5)
    for nlp in (one, other):
        train(nlp, steps=1)
    train(one, steps=2)
    before, after = one.get_pipe("torch_relations"), other.get_pipe("torch_relations")
    before.skipped["strange relations"] += 3
    state = json.loads(json.dumps(before.training_state))
    assert state["draws"] != after.training_state["draws"]
    after.training_state = state
    assert after.training_state == state
    assert after.skipped == {"strange relations": 3}


def test_what_cannot_be_learned_is_counted():
    nlp = spacy.blank("en")
    register_relations()
    reference = make_doc(nlp, "Ann runs Acme", {"Ann": "PERSON", "Acme": "ORG"})
    reference._.relations = [Relation(reference[0:1], reference[1:2], "runs")] * 3
    glued = Doc(nlp.vocab, ["Annruns", "Acme"])
    parts = Doc(nlp.vocab, ["Ann", "runs", "Acme"], spaces=[False, True, False])
    parts._.relations = [Relation(parts[0:1], parts[2:3], "runs")]
    unknown = make_example(nlp, "Ann runs Acme", ENTITIES["Ann runs Acme"], [("Ann", "Acme", "x")])
    skipped = Skipped()
    found = RelationTargets(0).read(
        [Example(nlp.make_doc("Ann runs Acme"), reference), Example(glued, parts), unknown],
        [[], [], []],
        labels=("runs",),
        exclusive=True,
        negative_rate=1.0,
        skip=partial(skipped.add, name="x"),
    )
    assert found.shape == (0, 2)
    assert skipped == {
        "relations between spans that are no candidates": 4,
        "misaligned relations": 1,
    }


def test_relation_that_does_not_hold_loses_nothing_where_it_cannot_be_learned():
    nlp = spacy.blank("en")
    register_relations()
    reference = make_doc(nlp, "Ann runs Acme", {"Ann": "PERSON", "Acme": "ORG"})
    reference._.relations = [Relation(reference[0:1], reference[2:3], "x", 0.0)]
    skipped = Skipped()
    example = Example(nlp.make_doc("Ann runs Acme"), reference)
    found = read_targets(nlp, [example], skip=partial(skipped.add, name="x"))
    assert skipped == {}
    numpy.testing.assert_array_equal(found, [[1, 0, 0], [1, 0, 0]])


def test_rehearsal_holds_on_to_the_relations_of_gold_entities():
    nlp = make_nlp()
    examples = train(nlp)
    optimizer = nlp.resume_training()
    assert nlp.rehearse(examples, sgd=optimizer) == {"torch_relations": 0.0}
    nlp.update([make_example(nlp, *TEXTS[0][:2], [])], sgd=optimizer)
    assert nlp.rehearse(examples, sgd=optimizer)["torch_relations"] > 0


def test_examples_without_relations_are_refused():
    with pytest.raises(ValueError, match=r"needs at least one label, found none: set doc\._\."):
        train(make_nlp(), [("Ann runs Acme", {"Ann": "PERSON"}, [])])


@pytest.mark.parametrize("setting", ["threshold", "negative_rate"])
def test_setting_that_is_no_share_is_refused(setting):
    with pytest.raises(ValueError, match=f"{setting} must be from 0 to 1, got 1.5"):
        make_nlp(**{setting: 1.5})


def test_model_of_another_task_is_refused():
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TextCatBOW.v1", "exclusive_classes": True}
    with pytest.raises(ValueError, match=r"needs a model that scores each pair, but .* each text"):
        nlp.add_pipe("torch_relations", config={"model": model})


def test_loss_of_the_other_kind_of_labels_is_refused():
    with pytest.raises(ValueError, match="has exclusive labels, which the loss"):
        make_nlp(loss={"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"})


def test_text_with_hundreds_of_entities_is_learned_and_annotated_in_parts(monkeypatch):
    def run(max_rows: int) -> tuple[list[int], float, numpy.ndarray]:
        monkeypatch.setattr(relation_classifier, "MAX_ROWS", max_rows)
        torch.manual_seed(0)
        nlp = make_nlp(pairs={**PAIRS, "max_distance": 6})
        words = ["Ann" if i % 2 == 0 else "sees" for i in range(240)]
        reference = Doc(nlp.vocab, words)
        reference.ents = [Span(reference, i, i + 1, "PERSON") for i in range(0, 240, 2)]
        pairs = zip(reference.ents[:-1], reference.ents[1:], strict=True)
        reference._.relations = [(head, tail, "sees") for head, tail in pairs]
        examples = [Example(Doc(nlp.vocab, words), reference)]
        optimizer = nlp.initialize(lambda: examples)
        pipe = nlp.get_pipe("torch_relations")
        module = get_shim(pipe.logits_model).module
        n_rows: list[int] = []
        module.see_distances.register_forward_hook(
            lambda _, inputs, __: n_rows.append(len(inputs[0]))
        )
        loss = nlp.update(examples, sgd=optimizer)["torch_relations"]
        (found,) = pipe.probabilities([reference])
        return n_rows, loss, found.values

    n_rows, loss, values = run(500)
    _, loss_at_once, values_at_once = run(10**9)
    # 120 entities, at most six tokens apart: three on either side but for the ends.
    assert len(values) == 2 * (119 + 118 + 117)
    assert max(n_rows) < 500 + 7 + 2 * 3  # one more pair, and its context
    assert sum(n_rows) > 3 * 500
    assert loss == pytest.approx(loss_at_once, rel=1e-4)
    numpy.testing.assert_allclose(values, values_at_once, atol=1e-5)
