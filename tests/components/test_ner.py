"""What an entity recognizer learns from, writes and refuses."""

import logging

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim
from spacy_torch.components.entity_tags import find_allowed
from spacy_torch.components.gold_entities import EntityReader
from spacy_torch.components.skipped import ignore

Entities = list[tuple[int, int, str]]
SENTENCES: list[tuple[list[str], Entities]] = [
    (["Ada", "Lovelace", "met", "Babbage"], [(0, 2, "PERSON"), (3, 4, "PERSON")]),
    (["London", "is", "old"], [(0, 1, "PLACE")]),
    (["nothing", "here"], []),
]
ADA = SENTENCES[0][0]


def make_nlp(**config: object) -> Language:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
    nlp.add_pipe("torch_ner", config={"model": model, **config})
    return nlp


def make_doc(
    nlp: Language, words: list[str], entities: Entities | None = None, **kwargs: object
) -> Doc:
    doc = Doc(nlp.vocab, words, **kwargs)
    if entities is not None:
        doc.set_ents([Span(doc, start, end, label) for start, end, label in entities])
    return doc


def make_example(nlp: Language, words: list[str], entities: Entities | None) -> Example:
    return Example(make_doc(nlp, words), make_doc(nlp, words, entities))


def initialize(nlp: Language, examples: list[Example] | None = None) -> list[Example]:
    examples = examples or [make_example(nlp, *sentence) for sentence in SENTENCES]
    nlp.initialize(lambda: examples)
    return examples


def train(nlp: Language, examples: list[Example] | None = None, *, steps: int = 60) -> Language:
    examples = initialize(nlp, examples)
    for _ in range(steps):
        nlp.update(examples, sgd=nlp._optimizer)
    return nlp


def entities_of(doc: Doc) -> Entities:
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def probability_of(nlp: Language, words: list[str], entity: tuple[int, int, str]) -> float:
    ner = nlp.get_pipe("torch_ner")
    (found,) = ner.probabilities([make_doc(nlp, words)], floor=1e-4)
    start, end, label = entity
    return next((p[label] for s, p in found if (s.start, s.end) == (start, end)), 0.0)


@pytest.fixture(scope="module")
def trained() -> Language:
    return train(make_nlp())


def test_entities_are_found_and_all_other_tokens_are_outside(trained):
    for words, entities in SENTENCES:
        doc = trained(make_doc(trained, words))
        assert entities_of(doc) == entities
        assert all(token.ent_iob_ in "BIO" for token in doc)
        assert doc.has_annotation("ENT_IOB")


# What documents have already ----------------------------------------------------------------


@pytest.fixture(scope="module", params=["torch_ner", "ner"])
def each(request: pytest.FixtureRequest, trained: Language) -> Language:
    """Our component and the stock one, which must agree on what is there already."""
    if request.param == "torch_ner":
        return trained
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    return train(nlp, [make_example(nlp, *sentence) for sentence in SENTENCES], steps=30)


def test_entities_that_are_there_stay(each):
    doc = each(make_doc(each, ADA, [(0, 1, "SHIP")]))
    assert (0, 1, "SHIP") in entities_of(doc)
    assert (3, 4, "PERSON") in entities_of(doc)
    doc = make_doc(each, ADA)
    doc.set_ents([Span(doc, 1, 3, "PLACE", kb_id="Q1")], default="missing")
    each(doc)
    assert {(1, 3, "PLACE"), (3, 4, "PERSON")} <= set(entities_of(doc))
    assert doc[1].ent_kb_id_ == "Q1"
    assert doc[0].ent_iob_ in "BO"


def test_tokens_that_are_blocked_are_in_no_entity(each):
    doc = make_doc(each, ADA)
    doc.set_ents([], blocked=[doc[3:4]], default="missing")
    assert entities_of(each(doc)) == [(0, 2, "PERSON")]
    assert doc[3].ent_iob_ == "B"
    assert doc[3].ent_type_ == ""


def test_tokens_that_are_outside_are_looked_at_anew(each):
    assert entities_of(each(make_doc(each, ADA, []))) == SENTENCES[0][1]


def test_no_entity_crosses_the_start_of_a_sentence(trained):
    doc = make_doc(trained, ADA, sent_starts=[True, True, False, False])
    assert all(not (start < 1 < end) for start, end, _ in entities_of(trained(doc)))


def test_no_entity_begins_or_ends_with_white_space():
    nlp = make_nlp()
    words = ["Ada", "\n", "Lovelace"]
    train(nlp, [make_example(nlp, ["Ada", "x", "Lovelace"], [(0, 3, "PERSON")])])
    assert entities_of(nlp(make_doc(nlp, words))) in ([(0, 3, "PERSON")], [])
    assert entities_of(nlp(make_doc(nlp, ["\n", "Lovelace", "\n"]))) in ([(1, 2, "PERSON")], [])


# Confidence -----------------------------------------------------------------------------------


def test_probabilities_favour_the_entities_and_leave_the_documents_as_they_are(trained):
    docs = [make_doc(trained, words) for words in (ADA, [], ["London", "is", "old"])]
    found = trained.get_pipe("torch_ner").probabilities(docs)
    assert [len(each.labels) for each in found] == [2, 2, 2]
    sure = [
        (span.start, span.end, label)
        for span, by_label in found[0]
        for label, p in by_label.items()
        if p > 0.5
    ]
    assert sure == SENTENCES[0][1]
    assert list(found[1]) == []
    assert max(found[2].values.ravel()) > 0.5
    assert not docs[0].has_annotation("ENT_IOB")


def test_untrained_component_finds_every_path_as_likely_as_any_other():
    nlp = make_nlp()
    initialize(nlp)
    # Two tokens, two labels: outside or unit at each (3 x 3), or one entity of both (2).
    assert probability_of(nlp, ["a", "b"], (0, 2, "PERSON")) == pytest.approx(1 / 11)
    assert probability_of(nlp, ["a", "b"], (0, 1, "PLACE")) == pytest.approx(3 / 11)


def test_probabilities_of_a_token_sum_to_one(trained):
    docs = [make_doc(trained, words) for words in (ADA, [])]
    found = trained.get_pipe("torch_ner").token_probabilities(docs)
    numpy.testing.assert_allclose(found[0].values.sum(1), 1, rtol=1e-5)
    assert [max(row, key=row.get) for _, row in found[0]] == ["PERSON", "PERSON", "", "PERSON"]
    assert found[1].values.shape == (0, 3)


def test_entities_below_the_threshold_are_left_out():
    nlp = train(make_nlp(threshold=0.5))
    assert entities_of(nlp(make_doc(nlp, ADA))) == SENTENCES[0][1]
    sure = [probability_of(nlp, ADA, entity) for entity in SENTENCES[0][1]]
    nlp.get_pipe("torch_ner").cfg["threshold"] = (sure[0] + sure[1]) / 2
    (kept,) = entities_of(nlp(make_doc(nlp, ADA)))
    assert kept == SENTENCES[0][1][int(sure[1] > sure[0])]


def test_low_threshold_finds_what_is_likely_beside_the_best_path():
    nlp = make_nlp()
    initialize(nlp)
    # Untrained, each of 11 paths is as good as any other; 3 have the unit of a label.
    assert entities_of(nlp(make_doc(nlp, ["a", "b"]))) == []
    nlp.get_pipe("torch_ner").cfg["threshold"] = 0.2
    found = entities_of(nlp(make_doc(nlp, ["a", "b"])))
    assert [(start, end) for start, end, _ in found] == [(0, 1), (1, 2)]
    nlp.get_pipe("torch_ner").cfg["threshold"] = 0.3
    assert entities_of(nlp(make_doc(nlp, ["a", "b"]))) == []


def test_scores_are_stored_where_they_are_asked_for():
    nlp = train(make_nlp(scores_key="found"))
    doc = nlp(make_doc(nlp, ADA))
    spans = doc.spans["found"]
    assert [(s.start, s.end, s.label_) for s in spans] == SENTENCES[0][1]
    expected = [probability_of(nlp, ADA, entity) for entity in SENTENCES[0][1]]
    assert spans.attrs["scores"].tolist() == pytest.approx(expected, rel=1e-5)
    restored = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert restored.spans["found"].attrs["scores"].tolist() == pytest.approx(expected, rel=1e-5)


# What is known in part ---------------------------------------------------------------------


def make_partial(
    nlp: Language, words: list[str], entities: Entities, outside: list[int]
) -> Example:
    reference = Doc(nlp.vocab, words)
    spans = [Span(reference, *entity) for entity in entities]
    known = [reference[place : place + 1] for place in outside]
    reference.set_ents(spans, outside=known, default="missing")
    return Example(Doc(nlp.vocab, words), reference)


def test_known_span_is_learned_while_the_rest_stays_open():
    nlp = make_nlp()
    full = initialize(nlp)
    before = probability_of(nlp, ADA, (3, 4, "PERSON"))
    for _ in range(60):
        nlp.update([make_partial(nlp, ADA, [(0, 2, "PERSON")], [])], sgd=nlp._optimizer)
    assert probability_of(nlp, ADA, (0, 2, "PERSON")) > 0.9
    # Learned as outside, which the annotation does not say, it would be near zero.
    assert probability_of(nlp, ADA, (3, 4, "PERSON")) > before / 2
    assert len(full) == 3


def test_known_outside_tokens_are_learned_without_the_others():
    nlp = make_nlp()
    initialize(nlp)
    for _ in range(60):
        nlp.update([make_partial(nlp, ADA, [], [2])], sgd=nlp._optimizer)
    (found,) = nlp.get_pipe("torch_ner").token_probabilities([make_doc(nlp, ADA)])
    outside = found.values[:, 0]
    assert outside[2] > 0.95
    assert outside[0] < 0.9


@pytest.mark.parametrize("entity", [(3, 4, "PERSON"), (0, 2, "PERSON")])
def test_rejected_span_is_unlearned(entity):
    nlp = make_nlp(incorrect_spans_key="wrong")
    train(nlp)
    assert probability_of(nlp, ADA, entity) > 0.8
    example = make_example(nlp, ADA, None)
    example.reference.spans["wrong"] = [Span(example.reference, *entity)]
    for _ in range(100):
        nlp.update([example], sgd=nlp._optimizer)
    assert probability_of(nlp, ADA, entity) < 0.1


def test_examples_without_annotation_train_nothing():
    nlp = make_nlp()
    initialize(nlp)
    losses = nlp.update([make_example(nlp, ADA, None)], sgd=nlp._optimizer)
    assert losses == {"torch_ner": 0.0}
    module = get_shim(nlp.get_pipe("torch_ner").logits_model).module
    assert not any(p.any() for p in (module.output.weight, module.output.bias, module.between))


def test_transitions_learn_too():
    nlp = train(make_nlp(), steps=5)
    module = get_shim(nlp.get_pipe("torch_ner").logits_model).module
    assert module.between.any()
    assert module.start.any()
    assert module.end.any()


def test_ordinary_documents_restrict_no_tag():
    vocab = make_nlp().vocab
    docs = [Doc(vocab, ["a", "b"]), Doc(vocab, []), Doc(vocab, ["c"])]
    assert docs[0][0].is_sent_start
    assert find_allowed(docs, {1: 0}) is None
    docs[0][1].is_sent_start = True
    allowed = find_allowed(docs, {1: 0})
    assert allowed is not None
    # Outside, then begin, inside, last and unit: no entity goes on into the second sentence.
    assert allowed.sum(axis=1).tolist() == [5, 3, 5]


# What cannot be learned is counted ----------------------------------------------------------


def test_entity_that_does_not_fit_the_tokens_is_unknown_counted_and_logged_once(caplog):
    nlp = make_nlp()
    initialize(nlp)
    predicted = Doc(nlp.vocab, ["met", "AdaLovelace"])
    reference = make_doc(nlp, ["met", "Ada", "Lovelace"], [(1, 2, "PERSON")])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            nlp.update([Example(predicted, reference)])
    assert nlp.get_pipe("torch_ner").skipped == {"misaligned entities": 3}
    messages = [
        r.getMessage() for r in caplog.records if "does not fit the tokens" in r.getMessage()
    ]
    assert len(messages) == 1


def test_white_space_inside_an_entity_that_does_not_fit_is_unknown():
    vocab = make_nlp().vocab
    spaces = [False, False, True, False, False]
    predicted = Doc(vocab, ["New", " ", "York-based", " ", "x"], spaces=spaces)
    words = ["New", " ", "York", "-", "based", " ", "x"]
    reference = Doc(vocab, words, spaces=[False, False, False, False, True, False, False])
    reference.ents = [Span(reference, 0, 3, label="PLACE")]
    assert predicted.text == reference.text
    reader = EntityReader({vocab.strings["PLACE"]: 0}, None, ignore)
    assert reader.read([Example(predicted, reference)]).tags.tolist() == [-1, -1, -1, 0, 0]


@pytest.mark.parametrize("words", [["a", "\n", "b"], ["a", "\n", "b", "."]])
def test_white_space_without_annotation_is_outside_where_there_is_any(words):
    vocab = make_nlp().vocab
    spaces = [False] * 4
    predicted = Doc(vocab, ["a", "\n", "b."], spaces=spaces[:3])
    if len(words) == 3:
        predicted = Doc(vocab, words, spaces=spaces[:3])
    reference = Doc(vocab, words, spaces=spaces[: len(words)])
    reference.set_ents([], outside=[reference[:1]], default="missing")
    reader = EntityReader({}, None, ignore)
    assert reader.read([Example(predicted, reference)]).tags.tolist() == [0, 0, -1]


def test_entity_with_another_label_is_unknown_and_counted():
    nlp = make_nlp()
    initialize(nlp)
    losses = nlp.update([make_example(nlp, ["Ada"], [(0, 1, "SHIP")])], sgd=nlp._optimizer)
    assert losses == {"torch_ner": 0.0}
    assert nlp.get_pipe("torch_ner").skipped == {"entities with other labels": 1}


def test_rejected_spans_that_cannot_be_used_are_counted():
    nlp = make_nlp(incorrect_spans_key="wrong")
    initialize(nlp)
    example = make_example(nlp, ADA, [(0, 2, "PERSON")])
    reference = example.reference
    reference.spans["wrong"] = [
        Span(reference, 0, 2, "PERSON"),  # which the reference has as an entity
        Span(reference, 0, 2, "SHIP"),  # which the component never finds anyway
        Span(reference, 0, 2, "PLACE"),
    ]
    nlp.update([example], sgd=nlp._optimizer)
    found = nlp.get_pipe("torch_ner").skipped
    assert found == {
        "rejected spans that are entities": 1,
        "rejected spans with other labels": 1,
    }
    predicted = Doc(nlp.vocab, ["AdaLovelace", "met", "Babbage"])
    reference.spans["wrong"] = [Span(reference, 0, 1, "PERSON"), Span(reference, 3, 4, "PERSON")]
    nlp.update([Example(predicted, reference)], sgd=nlp._optimizer)
    assert found["misaligned rejected spans"] == 1


# Labels -----------------------------------------------------------------------------------------


def test_labels_come_from_the_examples_in_alphabetical_order(trained):
    assert trained.get_pipe("torch_ner").labels == ("PERSON", "PLACE")


def test_label_added_after_training_keeps_what_was_learned():
    nlp = train(make_nlp())
    before = get_shim(nlp.get_pipe("torch_ner").logits_model).module.between.detach().clone()
    nlp.get_pipe("torch_ner").add_label("SHIP")
    after = get_shim(nlp.get_pipe("torch_ner").logits_model).module.between
    assert after.shape == (13, 13)
    assert (after[:9, :9] == before).all()
    assert entities_of(nlp(make_doc(nlp, ADA))) == SENTENCES[0][1]
    optimizer = nlp.resume_training()
    more = [make_example(nlp, *s) for s in [*SENTENCES, (["HMS", "Beagle"], [(0, 2, "SHIP")])]]
    for _ in range(60):
        nlp.update(more, sgd=optimizer)
    nlp.rehearse(more, sgd=optimizer)
    assert entities_of(nlp(make_doc(nlp, ["HMS", "Beagle"]))) == [(0, 2, "SHIP")]


def test_rehearsal_knows_the_labels_before():
    nlp = train(make_nlp())
    optimizer = nlp.resume_training()
    nlp.get_pipe("torch_ner").add_label("SHIP")
    losses = nlp.rehearse([make_example(nlp, *SENTENCES[0])], sgd=optimizer)
    assert losses["torch_ner"] == pytest.approx(0.0, abs=1e-6)


def test_examples_without_entities_are_refused():
    nlp = make_nlp()
    with pytest.raises(ValueError, match=r"needs at least one label, found none: annotate doc\.e"):
        initialize(nlp, [make_example(nlp, ["go"], [])])


def test_model_of_another_task_is_refused():
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
    with pytest.raises(ValueError, match=r"needs a model that scores each tag, but .* each token"):
        make_nlp(model=model)


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1])
def test_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a probability above 0, or null"):
        make_nlp(threshold=threshold)


def test_floor_of_zero_is_refused(trained):
    with pytest.raises(ValueError, match="floor must be above 0"):
        trained.get_pipe("torch_ner").probabilities([make_doc(trained, ADA)], floor=0.0)
