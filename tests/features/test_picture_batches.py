import pickle

import numpy
import pytest
import spacy
import torch
from images import CORNERS, random_pixels, write_image
from spacy.tokens import Doc

from spacy_torch.features.image_docs import make_image_doc, set_picture
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_batches import BLANK, PictureReader, picture_keys
from spacy_torch.features.pixels import read_pixels

VOCAB = spacy.blank("en").vocab


def make_doc(source: object) -> Doc:
    return make_image_doc(VOCAB, Picture.from_source(source))


def test_pixels_are_those_of_the_chosen_places():
    docs = [make_doc(random_pixels(9, 12, seed=seed)) for seed in range(4)]
    batch = PictureReader(8)(docs)
    expected, _ = read_pixels(docs, size=8)
    assert numpy.array_equal(batch.read([2, 0]), expected[[2, 0]])
    assert numpy.array_equal(batch.read_all(), expected)


def test_equal_files_have_equal_keys_wherever_they_are(tmp_path):
    first, second = write_image(tmp_path / "a.png"), write_image(tmp_path / "b" / "c.png")
    other = write_image(tmp_path / "d.png", random_pixels(4, 6))
    keys = picture_keys([make_doc(path) for path in (first, second, other, first.read_bytes())])
    assert keys.dtype == torch.int64
    assert keys[0] == keys[1] == keys[3] != keys[2]


def test_nothing_is_decoded_for_the_keys(tmp_path):
    file = tmp_path / "no_picture.png"
    file.write_bytes(b"nothing of the kind")
    batch = PictureReader(8)([make_doc(file)])
    with pytest.raises(ValueError, match="no_picture.png"):
        batch.read_all()


def test_document_of_nothing_is_a_grey_square():
    batch = PictureReader(8)([Doc(VOCAB), make_doc(CORNERS)])
    assert batch.keys[0] == BLANK
    assert batch.read([0]).unique().tolist() == [127]
    assert len(batch.read([1]).unique()) > 1


def test_text_without_a_picture_is_refused():
    doc = Doc(VOCAB, words=["a", "caption"])
    with pytest.raises(ValueError, match="'a caption.* has no picture"):
        PictureReader(8)([doc])
    set_picture(doc, CORNERS)
    assert PictureReader(8)([doc]).read_all().shape == (1, 3, 8, 8)


def test_no_documents_are_an_empty_batch():
    batch = PictureReader(8)([])
    assert (len(batch.keys), batch.read_all().shape) == (0, (0, 3, 8, 8))


def test_reader_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(PictureReader(8))).size == 8
