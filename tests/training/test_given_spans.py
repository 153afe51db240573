"""Gold entities and spans on the Docs that a pipeline is given."""

import spacy
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example
from spacy.util import registry

from spacy_torch.features.gold_spans import give_spans, gold_spans


def test_stored_documents_come_with_their_spans_and_relations(tmp_path):
    block = {
        "@readers": "spacy-torch.GivenSpans.v1",
        "reader": {
            "@readers": "spacy.Corpus.v1",
            "path": str(tmp_path / "docs.spacy"),
            "gold_preproc": False,
        },
    }
    read = registry.resolve({"corpus": block})["corpus"]
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Ann runs Acme")
    doc.ents = [Span(doc, 0, 1, label="PERSON"), Span(doc, 2, 3, label="ORG")]
    doc.spans["sc"] = [Span(doc, 1, 3, label="X")]
    doc._.relations = [(doc.ents[0], doc.ents[1], "runs")]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "docs.spacy")
    (example,) = read(nlp)
    assert [(ent.text, ent.label_) for ent in example.predicted.ents] == [
        ("Ann", "PERSON"),
        ("Acme", "ORG"),
    ]
    assert [(span.text, span.label_) for span in example.predicted.spans["sc"]] == [
        ("runs Acme", "X")
    ]
    assert example.reference._.relations == doc._.relations
    assert example.predicted._.relations == ()


def test_spans_are_given_to_other_tokens_where_they_fit():
    nlp = spacy.blank("en")
    predicted = Doc(nlp.vocab, ["New", "York", "isbig"], spaces=[True, True, False])
    reference = Doc(nlp.vocab, ["New York", "is", "big"], spaces=[True, False, False])
    reference.ents = [Span(reference, 0, 1, label="GPE"), Span(reference, 1, 2, label="X")]
    give_spans(Example(predicted, reference))
    assert [(ent.text, ent.label_) for ent in predicted.ents] == [("New York", "GPE")]


def test_other_spaces_between_the_tokens_do_not_matter():
    nlp = spacy.blank("en")
    predicted = Doc(nlp.vocab, ["a", "b"], spaces=[False, False])
    reference = Doc(nlp.vocab, ["a", "b"], spaces=[True, False])
    reference.ents = [Span(reference, 1, 2, label="X")]
    give_spans(Example(predicted, reference))
    assert [(ent.text, ent.label_) for ent in predicted.ents] == [("b", "X")]


def test_reference_without_entities_leaves_those_that_are_there():
    nlp = spacy.blank("en")
    predicted = nlp.make_doc("Ann runs")
    predicted.ents = [Span(predicted, 0, 1, label="PERSON")]
    with gold_spans([Example(predicted, nlp.make_doc("Ann runs"))]):
        assert [ent.text for ent in predicted.ents] == ["Ann"]


def test_scores_of_groups_come_back_with_them():
    nlp = spacy.blank("en")
    predicted, reference = nlp.make_doc("Ann runs Acme"), nlp.make_doc("Ann runs Acme")
    scores = {"scores": [0.75]}
    predicted.spans["sc"] = SpanGroup(predicted, name="sc", spans=[predicted[1:2]], attrs=scores)
    reference.spans["sc"] = [reference[0:1]]
    with gold_spans([Example(predicted, reference)]):
        assert [span.text for span in predicted.spans["sc"]] == ["Ann"]
    assert [span.text for span in predicted.spans["sc"]] == ["runs"]
    assert predicted.spans["sc"].attrs == scores


def test_unknown_entities_are_unknown_again_afterwards():
    nlp = spacy.blank("en")
    predicted, reference = nlp.make_doc("Ann runs"), nlp.make_doc("Ann runs")
    reference.ents = [Span(reference, 0, 1, label="PERSON")]
    with gold_spans([Example(predicted, reference), Example(nlp.make_doc(""), nlp.make_doc(""))]):
        assert [ent.text for ent in predicted.ents] == ["Ann"]
    assert not predicted.has_annotation("ENT_IOB")
