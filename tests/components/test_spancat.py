"""What a span categorizer learns from, writes and refuses."""

import logging

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import registry
from thinc.types import Ragged
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim

MODEL = {"@architectures": "spacy-torch.SpanClassifier.v1", "encoder": ENCODER, "hidden_width": 32}
PROPOSER = {"@misc": "spacy-torch.SpanProposer.v1", "rank": 8, "per_token": 0.0, "at_least": 2}
# Spans as (first token, token behind the last, label); they overlap, and one has two labels.
SENTENCES = [
    ("book a table for two tonight", [(0, 3, "order"), (1, 3, "thing"), (5, 6, "time")]),
    ("two pizzas", [(0, 2, "order"), (0, 2, "thing")]),
    ("thanks", []),
]


def make_nlp(model=MODEL, **config: object) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_spancat", config={"model": model, **config})
    return nlp


def make_example(nlp: Language, text: str, spans, *, words=None) -> Example:
    """`words` splits the prediction differently; spans None: not annotated."""
    reference = Doc(nlp.vocab, text.split())
    if spans is not None:
        reference.spans["sc"] = [Span(reference, a, b, label=label) for a, b, label in spans]
    return Example(Doc(nlp.vocab, words or text.split()), reference)


def train(nlp: Language, sentences=SENTENCES, *, steps: int = 60, **options) -> list[Example]:
    examples = [make_example(nlp, *sentence) for sentence in sentences]
    optimizer = nlp.initialize(lambda: examples, **options)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return examples


def spans_of(doc: Doc) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label_) for span in doc.spans["sc"]]


def find(nlp: Language, text: str) -> list[tuple[int, int, str]]:
    return spans_of(nlp(Doc(nlp.vocab, text.split())))


@pytest.fixture(scope="module")
def trained() -> Language:
    nlp = make_nlp()
    train(nlp)
    return nlp


@pytest.mark.parametrize(("text", "spans"), SENTENCES)
def test_overlapping_spans_with_several_labels_are_learned(trained, text, spans):
    assert find(trained, text) == spans


def test_scores_stand_beside_the_spans_and_survive_saving(trained):
    doc = trained(Doc(trained.vocab, ["two", "pizzas"]))
    scores = doc.spans["sc"].attrs["scores"]
    assert scores.dtype == numpy.float32
    (found,) = trained.get_pipe("torch_spancat").probabilities([doc])
    by_place = {(s.start, s.end): row for s, row in found}
    assert scores.tolist() == [by_place[s.start, s.end][s.label_] for s in doc.spans["sc"]]
    again = Doc(trained.vocab).from_bytes(doc.to_bytes())
    numpy.testing.assert_array_equal(again.spans["sc"].attrs["scores"], scores)


def test_probabilities_are_of_every_suggested_span_and_leave_the_doc_alone(trained):
    docs = [Doc(trained.vocab, words) for words in (["two", "pizzas"], [], ["thanks"])]
    found = trained.get_pipe("torch_spancat").probabilities(docs)
    places = [[(span.start, span.end) for span in each.candidates] for each in found]
    assert places == [[(0, 1), (0, 2), (1, 2)], [], [(0, 1)]]
    assert trained.get_pipe("torch_spancat").probabilities([]) == []
    assert "sc" not in docs[0].spans


def test_candidates_can_be_seen_on_the_doc(trained):
    docs = [Doc(trained.vocab, ["two", "pizzas"]), Doc(trained.vocab)]
    trained.get_pipe("torch_spancat").set_candidates(docs)
    assert [[str(span) for span in doc.spans["candidates"]] for doc in docs] == [
        ["two", "two pizzas", "pizzas"],
        [],
    ]


def test_document_without_suggestions_gets_an_empty_group():
    nlp = make_nlp(suggester={"@misc": "spacy.ngram_suggester.v1", "sizes": [2]})
    train(nlp, [("two pizzas", [(0, 2, "order")]), ("go", [])])
    assert [spans_of(doc) for doc in nlp.pipe(["go", "two pizzas", "", "go"])] == [
        [],
        [(0, 2, "order")],
        [],
        [],
    ]
    assert find(nlp, "go") == []
    assert list(nlp("go").spans["sc"].attrs["scores"]) == []


# What is learned from -------------------------------------------------------------------


def test_example_without_the_key_trains_nothing():
    nlp = make_nlp()
    train(nlp, steps=1)
    before = get_shim(nlp.get_pipe("torch_spancat").logits_model).module.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    unknown = make_example(nlp, "two pizzas", None)
    assert nlp.update([unknown], sgd=nlp.create_optimizer()) == {"torch_spancat": 0.0}
    after = get_shim(nlp.get_pipe("torch_spancat").logits_model).module.state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)


def test_example_without_the_key_changes_nothing_beside_others():
    losses = []
    for more in ([], ["unknown words here", "more"]):
        nlp = make_nlp()
        examples = train(nlp, steps=0)
        numpy.random.seed(0)
        examples = [*(make_example(nlp, text, None) for text in more), *examples]
        module = get_shim(nlp.get_pipe("torch_spancat").logits_model).module
        for parameter in module.parameters():
            parameter.data.fill_(0.01)
        losses.append(nlp.update(examples)["torch_spancat"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_empty_group_says_that_there_are_no_spans():
    nlp = make_nlp()
    examples = train(nlp, steps=0)
    optimizer = nlp.create_optimizer()
    assert nlp.update([examples[2]], sgd=optimizer)["torch_spancat"] > 0


def test_loss_is_the_cross_entropy_of_each_label_of_each_suggestion():
    nlp = make_nlp()
    examples = train(nlp, [("two pizzas", [(0, 2, "order")])], steps=0)
    (found,) = nlp.get_pipe("torch_spancat").probabilities([examples[0].predicted])
    truth = {(0, 1): 0.0, (0, 2): 1.0, (1, 2): 0.0}
    expected = 0.0
    for span, row in found:
        right = truth[span.start, span.end]
        expected -= numpy.log(row["order"] if right else 1 - row["order"])
    assert nlp.update(examples)["torch_spancat"] == pytest.approx(expected, rel=1e-5)


def test_gold_spans_that_are_not_suggested_are_counted_and_logged_once(caplog):
    nlp = make_nlp(suggester={"@misc": "spacy.ngram_suggester.v1", "sizes": [1]})
    examples = train(nlp, steps=0)
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        nlp.update(examples)
        nlp.update(examples)
    assert nlp.get_pipe("torch_spancat").skipped == {"spans that are not suggested": 8}
    (message,) = [record.getMessage() for record in caplog.records]
    assert "learns nothing from spans that are not suggested, such as 'book a table'" in message


def test_misaligned_gold_spans_are_skipped_and_counted_others_are_found(caplog):
    nlp = make_nlp()
    examples = train(nlp)
    # (1, 3) is "a table", which the prediction has as "a ta" and "ble for".
    words = ["book", "a", "tab", "lefor", "two", "tonight"]
    text = "book a table for two tonight"
    reference = Doc(nlp.vocab, text.split(), spaces=[False] * 6)
    reference.spans["sc"] = [Span(reference, 1, 3, "thing"), Span(reference, 5, 6, "time")]
    example = Example(Doc(nlp.vocab, words, spaces=[False] * 6), reference)
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        nlp.update([example, *examples])
    assert nlp.get_pipe("torch_spancat").skipped == {"misaligned spans": 1}
    assert "'atable'" in caplog.text


def test_gold_label_that_is_none_of_the_labels_is_counted(caplog):
    nlp = make_nlp()
    components = {"torch_spancat": {"labels": ["order", "time"]}}
    nlp.config["initialize"]["components"] = components
    examples = train(nlp, steps=0)
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        nlp.update(examples)
    assert nlp.get_pipe("torch_spancat").skipped == {"spans with other labels": 2}
    assert "learns nothing from spans with other labels" in caplog.text


def test_label_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    examples = train(nlp)
    nlp.get_pipe("torch_spancat").add_label("price")
    for text, spans in SENTENCES:
        assert find(nlp, text) == spans
    more = [*examples, make_example(nlp, "ten dollars", [(0, 2, "price")])]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(more, sgd=optimizer)
    assert find(nlp, "ten dollars") == [(0, 2, "price")]


def test_rehearsal_pulls_back_to_the_scores_before():
    nlp = make_nlp({**MODEL, "proposer": PROPOSER})
    examples = train(nlp)
    optimizer = nlp.resume_training()
    assert nlp.rehearse(examples, sgd=optimizer)["torch_spancat"] == pytest.approx(0, abs=1e-6)
    nlp.update([make_example(nlp, "two pizzas", [])], sgd=optimizer)
    assert nlp.rehearse(examples, sgd=optimizer)["torch_spancat"] > 0


# Beside others that share a tok2vec ------------------------------------------------------

STOCK_TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 8,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}
TOK2VECS = [STOCK_TOK2VEC, {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}]
SUGGESTER = {"@misc": "spacy-torch.NgramSpans.v1", "max_size": 3}


def make_shared(tok2vec, *, proposer=None, suggester=SUGGESTER) -> tuple[Language, list[Example]]:
    """A tagger and a span categorizer that listen to one tok2vec.

    The examples: tags and spans, tags alone, nothing of either and no words.
    """
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    width = nlp.get_pipe("tok2vec").model.get_dim("nO")
    encoder = {
        "@torch_encoders": "spacy-torch.FromTok2Vec.v1",
        "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": width},
    }
    tagger = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": tagger})
    model = {**MODEL, "encoder": encoder}
    if proposer is not None:
        model["proposer"] = proposer
    nlp.add_pipe("torch_spancat", config={"model": model, "suggester": suggester})
    both = make_example(nlp, "can fish swim", [(0, 1, "thing")])
    tags = make_example(nlp, "a can", None)
    for example, names in ((both, "ABC"), (tags, "DA")):
        for token, tag in zip(example.reference, names, strict=True):
            token.tag_ = tag
    return nlp, [both, tags, make_example(nlp, "", None)]


@pytest.mark.parametrize("tok2vec", TOK2VECS)
@pytest.mark.parametrize("proposer", [None, PROPOSER])
@pytest.mark.parametrize("rows", [[0, 1], [1, 2], [0, 2], [2, 1, 0], [2], [1]])
def test_shared_tok2vec_learns_from_any_batch(tok2vec, proposer, rows):
    nlp, examples = make_shared(tok2vec, proposer=proposer)
    optimizer = nlp.initialize(lambda: examples)
    batch = [examples[row] for row in rows]
    for _ in range(2):
        losses = nlp.update(batch, sgd=optimizer)
    assert (losses["torch_spancat"] > 0) == (0 in rows)
    assert (losses["torch_tagger"] > 0) == (rows != [2])


@pytest.mark.parametrize("tok2vec", TOK2VECS)
@pytest.mark.parametrize(
    "suggester", [SUGGESTER, {**SUGGESTER, "min_size": 3}], ids=["unknown", "nothing suggested"]
)
def test_gradients_of_others_are_not_lost_where_there_are_no_spans(tok2vec, suggester):
    nlp, examples = make_shared(tok2vec, suggester=suggester)
    if suggester is not SUGGESTER:  # known, but shorter than what is suggested
        examples[1].reference.spans["sc"] = []
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    shared = nlp.get_pipe("tok2vec").model
    doc = examples[1].predicted
    for _ in range(2):  # before its first step the tagger's last layer hands back zeros
        before = shared.predict([doc])[0].copy()
        nlp.update(examples[1:2], sgd=optimizer)
    assert not numpy.allclose(shared.predict([doc])[0], before, rtol=0, atol=1e-4)


# Settings -------------------------------------------------------------------------------


def test_threshold_of_a_label_comes_before_that_of_all():
    nlp = make_nlp(threshold=1.0, thresholds={"thing": 0.0})
    train(nlp, steps=5)
    assert find(nlp, "two pizzas") == [(0, 1, "thing"), (0, 2, "thing"), (1, 2, "thing")]


def test_span_has_no_more_labels_than_max_positive():
    nlp = make_nlp(max_positive=1, threshold=0.0)
    train(nlp, steps=5)
    doc = nlp(Doc(nlp.vocab, ["book", "a", "table"]))
    assert len({(span.start, span.end) for span in doc.spans["sc"]}) == len(doc.spans["sc"]) == 6
    (found,) = nlp.get_pipe("torch_spancat").probabilities([doc])
    assert [s.label_ for s in doc.spans["sc"]] == [max(row, key=row.get) for _, row in found]


@pytest.mark.parametrize("overlap", ["all", "between_labels", "none"])
def test_better_spans_stay_where_spans_may_not_overlap(trained, overlap):
    component = trained.get_pipe("torch_spancat")
    before = dict(component.cfg)
    component.cfg.update(threshold=0.0, overlap=overlap)
    doc = trained(Doc(trained.vocab, ["book", "a", "table", "for", "two", "tonight"]))
    component.cfg = before
    (found,) = component.probabilities([doc])
    ranked = sorted(
        ((-p, s.start, s.end, label) for s, row in found for label, p in row.items()),
    )
    kept = []
    for _, start, end, label in ranked:
        rivals = {
            "all": [],
            "between_labels": [other for other in kept if other[2] == label],
            "none": kept,
        }[overlap]
        if all(end <= a or b <= start for a, b, _ in rivals):
            kept.append((start, end, label))
    assert spans_of(doc) == sorted(kept)


def test_exclusive_labels_compete_with_having_none():
    nlp = make_nlp(
        {**MODEL, "exclusive_classes": True}, loss={"@torch_losses": "spacy-torch.CrossEntropy.v1"}
    )
    sentences = [("two pizzas", [(0, 2, "order")]), ("pizzas", [(0, 1, "thing")]), ("thanks", [])]
    train(nlp, sentences)
    assert [find(nlp, text) for text, _ in sentences] == [spans for _, spans in sentences]
    doc = Doc(nlp.vocab, ["thanks"])
    (found,) = nlp.get_pipe("torch_spancat").probabilities([doc])
    assert found.values.sum() < 0.5  # the rest is for having none


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_span_has_one_exclusive_label_at_most_however_low_the_threshold(threshold):
    nlp = make_nlp(
        {**MODEL, "exclusive_classes": True},
        loss={"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        threshold=threshold,
    )
    train(nlp, [("bank", [(0, 1, "river")]), ("bank", [(0, 1, "money")]), ("thanks", [])])
    doc = Doc(nlp.vocab, ["bank"])
    ((_, row),) = next(iter(nlp.get_pipe("torch_spancat").probabilities([doc])))
    assert min(row.values()) > 0.2  # both are likely enough
    assert find(nlp, "bank") == [(0, 1, max(row, key=row.get))]


def test_span_has_no_exclusive_label_below_the_threshold():
    nlp = make_nlp(
        {**MODEL, "exclusive_classes": True}, loss={"@torch_losses": "spacy-torch.CrossEntropy.v1"}
    )
    sentences = [("bank", [(0, 1, "river")]), ("bank", []), ("bank", [])]
    train(nlp, sentences)
    assert find(nlp, "bank") == []
    nlp.get_pipe("torch_spancat").cfg["threshold"] = 0.25
    assert find(nlp, "bank") == [(0, 1, "river")]


def test_span_with_a_foreign_label_alone_is_unknown_to_exclusive_labels():
    nlp = make_nlp(
        {**MODEL, "exclusive_classes": True}, loss={"@torch_losses": "spacy-torch.CrossEntropy.v1"}
    )
    nlp.config["initialize"]["components"] = {"torch_spancat": {"labels": ["order"]}}
    examples = train(nlp, [("pizzas", [(0, 1, "thing")])], steps=0)
    assert nlp.update(examples) == {"torch_spancat": 0.0}


def test_focal_loss_serves():
    nlp = make_nlp(loss={"@torch_losses": "spacy-torch.Focal.v1"})
    train(nlp)
    assert find(nlp, "two pizzas") == SENTENCES[1][1]


# The learned suggester ------------------------------------------------------------------


def test_proposer_finds_planted_spans_within_its_budget():
    rng = numpy.random.default_rng(0)
    nlp = make_nlp(
        {**MODEL, "proposer": PROPOSER},
        suggester={"@misc": "spacy-torch.NgramSpans.v1", "max_size": 12},
    )
    sentences = []
    for _ in range(40):
        # Anything between "open" and "close" is a span; nothing else is.
        before, inside, behind = (rng.choice(list("abcdef"), rng.integers(1, 4)) for _ in range(3))
        words = [*before, "open", *inside, "close", *behind]
        start = len(before)
        sentences.append((" ".join(words), [(start, start + len(inside) + 2, "x")]))
    examples = train(nlp, sentences[:30], steps=40)
    component = nlp.get_pipe("torch_spancat")
    docs = [Doc(nlp.vocab, text.split()) for text, _ in sentences[30:]]
    found = component.probabilities(docs)
    assert all(len(each.candidates) == 2 for each in found)  # of 15 to 78 spans
    for each, (_, [(start, end, _)]) in zip(found, sentences[30:], strict=True):
        assert (start, end) in [(span.start, span.end) for span in each.candidates]
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0


def test_gold_spans_are_looked_at_in_training_though_nobody_suggests_them():
    nlp = make_nlp(
        {**MODEL, "proposer": {**PROPOSER, "at_least": 1}},
        suggester={"@misc": "spacy.ngram_suggester.v1", "sizes": [1]},
    )
    train(nlp, steps=2)
    assert nlp.get_pipe("torch_spancat").skipped == {}


def test_any_preset_spans_may_be_the_suggestions():
    nlp = make_nlp(suggester={"@misc": "spacy.preset_spans_suggester.v1", "spans_key": "given"})
    examples = [make_example(nlp, *sentence) for sentence in SENTENCES]
    for example in examples:
        doc, gold = example.predicted, example.reference.spans["sc"]
        doc.spans["given"] = [doc[span.start : span.end] for span in gold] * 2
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(example.predicted) for example in examples]
    assert [spans_of(doc) for doc in docs] == [spans for _, spans in SENTENCES]


# What is refused ------------------------------------------------------------------------


def test_preset_spans_that_nobody_set_are_explained():
    nlp = make_nlp(suggester={"@misc": "spacy.preset_spans_suggester.v1", "spans_key": "given"})
    with pytest.raises(ValueError, match=r"the suggester misses 'given', .*annotating_components"):
        train(nlp)


def suggest_past_the_end(docs, *, ops=None) -> Ragged:
    rows = numpy.array([[0, len(doc) + 1] for doc in docs], dtype="int32")
    return Ragged(rows, numpy.ones(len(docs), dtype="int32"))


def test_suggester_that_goes_past_the_end_is_refused():
    registry.misc.register("test.PastTheEnd.v1", func=lambda: suggest_past_the_end)
    nlp = make_nlp(suggester={"@misc": "test.PastTheEnd.v1"})
    with pytest.raises(ValueError, match=r"'torch_spancat': a suggester must .* gave \(0, 7\) for"):
        train(nlp)


def test_examples_without_spans_are_refused():
    nlp = make_nlp()
    with pytest.raises(ValueError, match=r"needs at least one label, found none: annotate doc\.sp"):
        train(nlp, [("thanks", [])])


def test_model_of_another_task_is_refused():
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
    with pytest.raises(ValueError, match=r"needs a model that scores each span, but .* each token"):
        make_nlp(model)


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"}}, ValueError, "do not exclude"),
        ({"threshold": 1.5}, ValueError, "threshold must be between 0 and 1.* threshold = 1.5"),
        ({"thresholds": {"x": -1.0}}, ValueError, r"must be between 0 and 1.* \{'x': -1.0\}"),
        ({"max_positive": 0}, ValueError, "max_positive must be at least 1, or null.* got 0"),
        ({"spans_key": ""}, ValueError, "spans_key must not be empty"),
    ],
)
def test_setting_out_of_its_range_is_refused(setting, error, message):
    with pytest.raises(error, match=message):
        make_nlp(**setting)


def test_overlap_and_suggester_are_checked_without_a_config_too():
    component = make_nlp().get_pipe("torch_spancat")
    parts = {"suggester": component.suggester, "loss": component.loss}
    make = type(component)
    with pytest.raises(ValueError, match="overlap must be one of all, between_labels, none, got"):
        make(component.vocab, component.model, "x", **parts, overlap="some")
    with pytest.raises(TypeError, match="the suggester must be a function of documents, got None"):
        make(component.vocab, component.model, "x", **{**parts, "suggester": None})


def test_threshold_of_an_unknown_label_is_refused():
    nlp = make_nlp(thresholds={"tiem": 0.3})
    with pytest.raises(ValueError, match=r"thresholds names \['tiem'\], which are no labels"):
        train(nlp)


def test_group_written_is_of_its_doc_and_named_by_the_key(trained):
    doc = trained(Doc(trained.vocab, ["two", "pizzas"]))
    group = doc.spans["sc"]
    assert isinstance(group, SpanGroup)
    assert (group.name, group.doc is doc) == ("sc", True)
