"""Relations stay with the Doc, however it is stored."""

import pickle

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_torch.features.relations import (
    Relation,
    SpanRef,
    get_relations,
    has_all_relations,
    has_relations,
    register_relations,
    set_relations,
)

ACME = Relation(SpanRef(0, 2, "PERSON"), SpanRef(4, 5, "ORG"), "works for", 0.75)


@pytest.fixture
def doc() -> Doc:
    register_relations()
    doc = Doc(Vocab(), ["Ann", "Lee", "works", "for", "Acme"])
    doc.ents = [Span(doc, 0, 2, label="PERSON"), Span(doc, 4, 5, label="ORG")]
    doc._.relations = [ACME]
    return doc


def through_docbin(doc: Doc) -> Doc:
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (loaded,) = DocBin(store_user_data=True).from_bytes(data).get_docs(Vocab())
    return loaded


def through_disk(doc: Doc, path) -> Doc:
    doc.to_disk(path / "doc")
    return Doc(Vocab()).from_disk(path / "doc")


@pytest.mark.parametrize(
    "store",
    [
        lambda doc, path: Doc(Vocab()).from_bytes(doc.to_bytes()),
        lambda doc, path: Doc(Vocab()).from_json(doc.to_json(underscore=["relations"])),
        lambda doc, path: through_docbin(doc),
        lambda doc, path: pickle.loads(pickle.dumps(doc)),
        lambda doc, path: doc.copy(),
        through_disk,
    ],
    ids=["bytes", "json", "DocBin", "pickle", "copy", "disk"],
)
def test_relations_come_back_typed_however_the_doc_was_stored(doc, store, tmp_path):
    loaded = store(doc, tmp_path)
    assert loaded._.relations == (ACME,)
    assert isinstance(loaded._.relations[0], Relation)
    assert isinstance(loaded._.relations[0].tail, SpanRef)
    assert has_all_relations(loaded)


def test_copy_of_a_doc_has_relations_of_its_own(doc):
    copied = doc.copy()
    copied._.relations = []
    assert doc._.relations == (ACME,)


def test_spans_stand_for_their_places_and_scores_for_certainty(doc):
    doc._.relations = [Relation(*doc.ents, "works for"), (doc[0:1], [4, 5], "x")]
    assert doc._.relations == (
        Relation(SpanRef(0, 2, "PERSON"), SpanRef(4, 5, "ORG"), "works for", 1.0),
        Relation(SpanRef(0, 1), SpanRef(4, 5), "x", 1.0),
    )


def test_no_relations_is_not_the_same_as_nothing_known(doc):
    assert not has_relations(Doc(doc.vocab, ["a"]))
    assert get_relations(Doc(doc.vocab, ["a"])) == ()
    doc._.relations = []
    assert has_relations(doc)
    assert has_all_relations(doc)
    set_relations(doc, [], complete=False)
    assert has_relations(doc)
    assert not has_all_relations(doc)


def test_relations_cannot_be_changed_in_a_way_that_would_be_lost(doc):
    with pytest.raises(AttributeError):
        doc._.relations.append(ACME)
    with pytest.raises(AttributeError):
        doc._.relations[0].label = "other"


def test_registering_again_changes_nothing():
    register_relations()
    before = Doc.get_extension("relations")
    register_relations()
    assert Doc.get_extension("relations") == before


def test_extension_of_someone_else_is_not_overwritten():
    register_relations()
    ours = Doc.remove_extension("relations")
    Doc.set_extension("relations", default=[])
    try:
        with pytest.raises(ValueError, match="is an extension of someone else's: remove it"):
            register_relations()
    finally:
        Doc.remove_extension("relations")
        Doc.set_extension("relations", getter=ours[2], setter=ours[3])


def test_relations_of_a_doc_with_other_tokens_are_refused(doc):
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    with pytest.raises(ValueError, match="when the Doc had 5 tokens, now it has 4: retokenize"):
        get_relations(doc)


@pytest.mark.parametrize(
    ("relation", "error", "message"),
    [
        ((0, 2), TypeError, r"must be Relation\(head, tail, label, score\)"),
        (((0, 2), (4, 5), 3), TypeError, r"must be Relation\(head, tail, label, score\)"),
        (((0, 2), (4, 5, 7), "x"), TypeError, r"must be Relation\(head, tail, label, score\)"),
        (("ab", (4, 5), "x"), TypeError, r"must be Relation\(head, tail, label, score\)"),
        (((0, 2), (4, 6), "x"), ValueError, "within the Doc's 5 tokens and not empty, got start 4"),
        (((2, 2), (4, 5), "x"), ValueError, "got start 2 and end 2"),
        (((0, 2), (4, 5), ""), ValueError, "the label of a relation must not be empty"),
        (((0, 2), (4, 5), "x", 1.5), ValueError, "a probability from 0 to 1, got 1.5"),
    ],
)
def test_malformed_relation_is_refused(doc, relation, error, message):
    with pytest.raises(error, match=message):
        doc._.relations = [relation]
    assert doc._.relations == (ACME,)


def test_relations_survive_two_processes():
    register_relations()
    nlp = spacy.blank("en")
    docs = [nlp.make_doc("Ann works for Acme") for _ in range(3)]
    for index, doc in enumerate(docs):
        doc._.relations = [Relation(SpanRef(0, 1), SpanRef(3, 4), f"label {index}")]
    found = list(nlp.pipe([doc.copy() for doc in docs], n_process=2, batch_size=1))
    assert [doc._.relations for doc in found] == [doc._.relations for doc in docs]
