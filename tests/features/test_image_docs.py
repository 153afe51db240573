"""A Doc with a picture, wherever it is stored."""

import pickle

import numpy
import pytest
import spacy
from images import CORNERS, write_image
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_torch.features.image_docs import (
    get_picture,
    has_picture,
    make_image_doc,
    make_refused_doc,
    set_picture,
)
from spacy_torch.features.picture import Picture


def through_docbin(doc):
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    return next(iter(DocBin().from_bytes(data).get_docs(Vocab())))


STORES = {
    "bytes": lambda doc: Doc(Vocab()).from_bytes(doc.to_bytes()),
    "DocBin": through_docbin,
    "pickle": lambda doc: pickle.loads(pickle.dumps(doc)),
    "copy": lambda doc: doc.copy(),
}


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
@pytest.mark.parametrize("is_file", [True, False])
def test_picture_comes_back_however_the_doc_was_stored(store, is_file, tmp_path):
    source = write_image(tmp_path / "my corners.png") if is_file else CORNERS
    doc = make_image_doc(Vocab(), Picture.from_source(source, max_pixels=1000))
    loaded = store(doc)
    picture = get_picture(loaded)
    assert picture == get_picture(doc)
    assert picture.max_pixels == 1000
    numpy.testing.assert_array_equal(numpy.asarray(picture.open()), CORNERS)
    assert [token.text for token in loaded] == [str(source) if is_file else picture.name]
    assert loaded.text == doc.text


def test_caption_may_get_a_picture():
    doc = spacy.blank("en")("Four corners of a square")
    assert not has_picture(doc)
    set_picture(doc, CORNERS)
    assert has_picture(doc)
    assert len(doc) == 5
    set_picture(doc, get_picture(doc))
    numpy.testing.assert_array_equal(numpy.asarray(get_picture(doc).open()), CORNERS)


def test_document_without_a_picture_says_so():
    with pytest.raises(ValueError, match="the document 'aa' has no picture: make it with"):
        get_picture(Doc(Vocab(), ["a", "a"], [False, False]))
    long = Doc(Vocab(), ["a" * 70], [False])
    with pytest.raises(ValueError, match=r"'a{60}\.\.\.' has no picture"):
        get_picture(long)


def test_refused_picture_gives_its_reason():
    doc = make_refused_doc(Vocab(), "https://a.b/c.png", reason="no URL please")
    assert not has_picture(doc)
    assert doc.text == "https://a.b/c.png"
    with pytest.raises(ValueError, match="no URL please"):
        get_picture(doc)
    assert len(make_refused_doc(Vocab(), "", reason="empty")) == 0


def test_what_is_no_picture_cannot_be_set():
    doc = Doc(Vocab(), ["a"])
    with pytest.raises(TypeError, match="an image must be a path"):
        set_picture(doc, 7)
    assert not has_picture(doc)
