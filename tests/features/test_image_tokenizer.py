"""`spacy-torch.ImageTokenizer.v1` and the language `image`."""

import base64
import pickle
from pathlib import Path

import numpy
import pytest
import spacy
from images import CORNERS, as_bytes, write_image
from PIL import Image
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example

from spacy_torch.features.image_docs import get_picture, has_picture, set_picture

BLOCK = {"nlp": {"tokenizer": {"@tokenizers": "spacy-torch.ImageTokenizer.v1"}}}


def pixels(doc):
    return numpy.asarray(get_picture(doc).open())


def sources(path):
    content = path.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return [str(path), path, content, uri, Image.open(path), CORNERS]


@pytest.fixture
def path(tmp_path):
    return write_image(tmp_path / "my corners.png")


def test_tokenizer_of_any_language_takes_every_kind_of_image(path):
    nlp = spacy.blank("en", config=BLOCK)
    for source in sources(path):
        doc = nlp(nlp.tokenizer(source))
        assert len(doc) == 1
        numpy.testing.assert_array_equal(pixels(doc), CORNERS)
    assert nlp(str(path)).text == str(path)


def test_image_language_takes_them_everywhere(path):
    nlp = spacy.blank("image")
    for source in sources(path):
        numpy.testing.assert_array_equal(pixels(nlp(source)), CORNERS)
        numpy.testing.assert_array_equal(pixels(nlp.make_doc(source)), CORNERS)
    docs = list(nlp.pipe(sources(path)))
    assert len(docs) == 6
    for doc in docs:
        numpy.testing.assert_array_equal(pixels(doc), CORNERS)
    ((doc, context),) = nlp.pipe([(path, 7)], as_tuples=True)
    assert (doc.text, context) == (str(path), 7)


def test_image_language_still_takes_docs_and_their_bytes(path):
    nlp = spacy.blank("image")
    doc = nlp(path)
    assert nlp(doc) is doc
    assert nlp(doc.to_bytes()).text == doc.text
    assert nlp(Doc(nlp.vocab).to_bytes()).text == ""


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_bytes_of_no_image_format_pass_for_a_doc(format):
    assert has_picture(spacy.blank("image")(as_bytes(CORNERS, format)))


def test_two_processes_give_what_one_gives(path):
    nlp = spacy.blank("image")
    inputs = [*sources(path), nlp(path)]
    docs = list(nlp.pipe(inputs, n_process=2, batch_size=2))
    assert [get_picture(doc) for doc in docs] == [get_picture(d) for d in nlp.pipe(inputs)]


def test_data_uri_longer_than_the_longest_text_is_taken():
    nlp = spacy.blank("image")
    content = as_bytes(numpy.zeros((800, 800, 3), dtype=numpy.uint8), "BMP")
    uri = "data:image/bmp;base64," + base64.b64encode(content).decode()
    assert len(uri) > nlp.max_length
    assert get_picture(nlp(uri)).size == (800, 800)


def test_pipeline_keeps_its_settings_and_loading_may_change_them(path, tmp_path):
    settings = {"root": str(path.parent), "max_pixels": 100}
    config = {"nlp": {"tokenizer": {**BLOCK["nlp"]["tokenizer"], **settings}}}
    nlp = spacy.blank("en", config=config)
    nlp.to_disk(tmp_path / "nlp")
    copies = [
        spacy.load(tmp_path / "nlp"),
        spacy.blank("en", config=nlp.config).from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
    ]
    for copy in copies:
        doc = copy(path.name)
        assert doc.text == path.name
        assert get_picture(doc).path == str(path)
        assert get_picture(doc).max_pixels == 100
    elsewhere = write_image(tmp_path / "elsewhere" / "b.png")
    moved = {"nlp.tokenizer.root": str(elsewhere.parent)}
    assert get_picture(spacy.load(tmp_path / "nlp", config=moved)("b.png")).path == str(elsewhere)


def test_image_language_is_found_when_a_pipeline_is_loaded(path, tmp_path):
    spacy.blank("image").to_disk(tmp_path / "nlp")
    nlp = spacy.load(tmp_path / "nlp")
    assert nlp.lang == "image"
    assert has_picture(nlp(path))


def test_corpus_finds_the_picture_of_a_file_again(path, tmp_path):
    nlp = spacy.blank("image")
    reference = nlp(path)
    reference.cats = {"corners": 1.0}
    DocBin(docs=[reference], store_user_data=True).to_disk(tmp_path / "a.spacy")
    (example,) = Corpus(tmp_path / "a.spacy")(nlp)
    assert get_picture(example.predicted).path == str(path)
    assert get_picture(example.reference).path == str(path)
    assert nlp.evaluate([example])["speed"] > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://example.org/a.png", "nothing is fetched from a URL"),
        ("../a.png", "leads out of the folder"),
        ("data:image/png;base64,???", "is not valid Base64"),
        ("image-" + "0" * 32, "the name of a picture in memory"),
        ("", "must not be empty"),
        (CORNERS[:0], "must have pixels"),
    ],
)
def test_what_is_refused_makes_a_doc_that_says_why(source, message, tmp_path):
    nlp = spacy.blank("image", config={"nlp": {"tokenizer": {"root": str(tmp_path)}}})
    doc, other = nlp.pipe([source, CORNERS])
    assert not has_picture(doc)
    assert doc.text == (source if isinstance(source, str) else "ndarray")
    with pytest.raises(ValueError, match=message):
        get_picture(doc)
    numpy.testing.assert_array_equal(pixels(other), CORNERS)


def test_paths_may_be_allowed_to_leave_the_folder(path, tmp_path):
    settings = {"root": str(tmp_path / "data"), "allow_outside": True}
    nlp = spacy.blank("image", config={"nlp": {"tokenizer": settings}})
    numpy.testing.assert_array_equal(pixels(nlp(path)), CORNERS)


def test_what_is_nothing_like_an_image_is_a_type_error():
    with pytest.raises(TypeError, match="an image must be a path, .* got int"):
        spacy.blank("image")(7)
    with pytest.raises(ValueError, match="max_pixels must be >= 1, got 0"):
        spacy.blank("image", config={"nlp": {"tokenizer": {"max_pixels": 0}}})


def test_caption_and_picture_stand_on_one_doc(path, tmp_path):
    nlp = spacy.blank("en")
    doc = nlp("Four corners")
    set_picture(doc, path)
    (copy,) = nlp.pipe([doc])
    assert [token.text for token in copy] == ["Four", "corners"]
    numpy.testing.assert_array_equal(pixels(copy), CORNERS)
    example = Example(doc.copy(), doc)
    assert has_picture(example.predicted)


def test_path_is_one_token_whatever_it_contains(tmp_path):
    for name in ("a b.png", " ", "new\nline.png", "ünï 😀.png"):
        doc = spacy.blank("image")(Path(name))
        assert [token.text for token in doc] == [name]
        assert doc.text == name
