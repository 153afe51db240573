"""Boxes on the Doc."""

import pickle

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_torch.features.boxes import (
    Box,
    clip_box,
    get_boxes,
    get_rejected,
    has_boxes,
    is_complete,
    register_boxes,
    set_boxes,
)

CELL = Box("cell", 1.5, 2, 30, 40, 0.25)
OTHER = Box("cell", 0, 0, 1, 1)


@pytest.fixture
def doc():
    register_boxes()
    doc = Doc(Vocab(), ["a.png"])
    set_boxes(doc, [CELL], rejected=[OTHER], complete=False)
    return doc


def through_docbin(doc):
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    return next(iter(DocBin().from_bytes(data).get_docs(Vocab())))


STORES = {
    "bytes": lambda doc: Doc(Vocab()).from_bytes(doc.to_bytes()),
    "json": lambda doc: Doc(Vocab()).from_json(doc.to_json(underscore=["boxes"])),
    "DocBin": through_docbin,
    "pickle": lambda doc: pickle.loads(pickle.dumps(doc)),
    "copy": lambda doc: doc.copy(),
}


@pytest.mark.parametrize("store", STORES, ids=STORES)
def test_boxes_come_back_typed_however_the_doc_was_stored(doc, store):
    loaded = STORES[store](doc)
    assert loaded._.boxes == (CELL,)
    assert isinstance(loaded._.boxes[0], Box)
    if store != "json":  # which asks for the boxes, and knows of nothing else
        assert get_rejected(loaded) == (OTHER,)
        assert not is_complete(loaded)


def test_boxes_cannot_be_changed_in_a_way_that_would_be_lost(doc):
    with pytest.raises(AttributeError):
        doc._.boxes.append(CELL)
    with pytest.raises(AttributeError):
        doc._.boxes[0].label = "other"


def test_copy_of_a_doc_has_boxes_of_its_own(doc):
    copied = doc.copy()
    copied._.boxes = []
    assert doc._.boxes == (CELL,)


def test_no_boxes_is_not_the_same_as_nothing_known():
    doc = Doc(Vocab(), ["a"])
    assert get_boxes(doc) == get_rejected(doc) == ()
    assert not has_boxes(doc)
    assert not is_complete(doc)
    set_boxes(doc, [])
    assert has_boxes(doc)
    assert is_complete(doc)
    set_boxes(doc, [], complete=False)
    assert has_boxes(doc)
    assert not is_complete(doc)


def test_boxes_may_be_sequences_and_numbers_of_numpy():
    doc = Doc(Vocab(), ["a"])
    row = numpy.array([1, 2, 3, 4], dtype=numpy.float32)
    set_boxes(doc, [["a", 1, 2, 3, 4], ("b", *row, numpy.float64(0.5)), Box("c", *row)])
    assert get_boxes(doc) == (Box("a", 1, 2, 3, 4), Box("b", 1, 2, 3, 4, 0.5), Box("c", 1, 2, 3, 4))
    assert get_boxes(Doc(Vocab()).from_bytes(doc.to_bytes())) == get_boxes(doc)


@pytest.mark.parametrize(
    ("box", "error", "message"),
    [
        (("", 0, 0, 1, 1), ValueError, "the label of a box must be text that is not empty"),
        ((7, 0, 0, 1, 1), ValueError, "the label of a box must be text"),
        (("a", 0, 0, 0, 1), ValueError, r"width and height of a box must be > 0, got Box\(.*'a'"),
        (("a", 0, 0, 1, -1), ValueError, "width and height of a box must be > 0"),
        (("a", float("nan"), 0, 1, 1), ValueError, "numbers of a box must be finite"),
        (("a", 0, 0, float("inf"), 1), ValueError, "numbers of a box must be finite"),
        (("a", 0, 0, 1, 1, 1.5), ValueError, "score of a box must be from 0 to 1"),
        (("a", 0, 0, 1), TypeError, r"a box must be Box\(label, x, y, width, height, score\)"),
        (("a", None, 0, 1, 1), TypeError, "a box must be Box"),
        (3, TypeError, "a box must be Box"),
    ],
)
def test_box_that_is_none_is_refused(box, error, message):
    doc = Doc(Vocab(), ["a"])
    with pytest.raises(error, match=message):
        set_boxes(doc, [box])
    assert not has_boxes(doc)


def test_extension_of_someone_else_is_left_alone():
    register_boxes()
    ours = Doc.get_extension("boxes")
    register_boxes()
    assert Doc.get_extension("boxes") == ours
    Doc.set_extension("boxes", default=None, force=True)
    try:
        with pytest.raises(ValueError, match=r"doc\._\.boxes is an extension of someone else's"):
            register_boxes()
    finally:
        Doc.remove_extension("boxes")
    register_boxes()


sides = st.integers(-20, 40)
lengths = st.integers(1, 30)
boxes = st.builds(Box, st.just("a"), sides, sides, lengths, lengths, st.just(1.0))


@given(boxes, st.integers(1, 20), st.integers(1, 20))
def test_clipped_box_covers_the_same_pixels_of_the_picture(box, width, height):
    def covered(box):
        left, top, right, bottom = box.corners
        columns = {x for x in range(width) if left <= x < right}
        return columns, {y for y in range(height) if top <= y < bottom}

    clipped = clip_box(box, (width, height))
    columns, rows = covered(box)
    if not columns or not rows:
        assert clipped is None
    else:
        assert clipped is not None
        assert covered(clipped) == (columns, rows)
        assert (clipped.width, clipped.height) == (len(columns), len(rows))
