"""What is written in a format is read again, and one becomes another."""

import json
import string
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import CORNERS, random_pixels, write_image
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus

from spacy_torch.features.boxes import Box, get_boxes
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage, make_gold_doc, read_doc
from spacy_torch.training.image_formats import (
    common_folder,
    guess_format,
    read_images,
    save_pictures,
    write_images,
)

NAMES = {
    "coco": "a.json",
    "voc": "voc",
    "prodigy": "a.jsonl",
    "label-studio": "tasks.json",
    "spacy": "a.spacy",
}

labels = st.text(string.ascii_letters + "äß-_ &<", min_size=1, max_size=8).map(str.strip)
labels = labels.filter(bool)


SURE = st.just(1.0)


@st.composite
def boxes(draw, scores=SURE):
    x, y = draw(st.floats(0, 15)), draw(st.floats(0, 7))
    width, height = draw(st.floats(0.5, 16 - x)), draw(st.floats(0.5, 8 - y))
    return Box(draw(labels), x, y, width, height, draw(scores))


def near(found, wanted):
    assert [box.label for box in found] == [box.label for box in wanted]
    for box, other in zip(found, wanted, strict=True):
        assert tuple(box)[1:] == pytest.approx(tuple(other)[1:], abs=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        write_image(folder / f"{number}.png", random_pixels(8, 16, seed=number))
    return folder


@pytest.mark.parametrize("format", NAMES)
@given(gold=st.lists(st.lists(boxes(), max_size=4).map(tuple), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_boxes_come_back_from_every_format(format, folder, gold):
    images = [
        AnnotatedImage(Picture(path=str(folder / f"{number}.png")), boxes=found)
        for number, found in enumerate(gold)
    ]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / NAMES[format]
        noticed = write_images(images, path, format, nlp=spacy.blank("image"), folder=folder)
        assert not noticed.counts
        assert guess_format(path) == format
        reader = read_images(path, format, images=folder)
        assert not reader.noticed.counts
        assert [image.picture for image in reader.images] == [image.picture for image in images]
        for image, wanted in zip(reader.images, gold, strict=True):
            near(image.boxes, wanted)


probabilities = st.floats(0.01, 1)
cats = st.dictionaries(labels, st.sampled_from([0.0, 1.0]), max_size=4)


@given(
    known=st.one_of(st.none(), st.lists(boxes(probabilities), max_size=3, unique=True)),
    rejected=st.lists(boxes(probabilities), max_size=2, unique=True),
    complete=st.booleans(),
    cats=cats,
    embedded=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_all_that_is_known_comes_back_from_prodigy_and_spacy(
    folder, known, rejected, complete, cats, embedded
):
    picture = Picture(path=str(folder / "0.png"))
    if embedded:
        picture = Picture(data=picture.read_bytes())
    image = AnnotatedImage(picture, cats=cats)
    if known is not None:
        image = replace(image, boxes=tuple(known), rejected=tuple(rejected), complete=complete)
    nlp = spacy.blank("image")
    with tempfile.TemporaryDirectory() as name:
        for format in ("prodigy", "spacy"):
            path = Path(name) / NAMES[format]
            noticed = write_images([image], path, format, nlp=nlp, folder=folder)
            is_bare = not (cats or image.boxes or image.rejected)
            if format == "prodigy" and is_bare and (image.boxes is None or not complete):
                assert path.read_text() == ""
                assert bool(noticed.counts) == (known is not None)
                continue
            (back,) = read_images(path, format, images=folder).images
            assert back.picture == picture
            assert back.cats == image.cats
            if format == "prodigy" and not (image.boxes or image.rejected or complete):
                assert back.boxes is None
                continue
            if known is None:
                assert back.boxes is None
                continue
            near(back.boxes, image.boxes)
            near(back.rejected, image.rejected)
            assert back.complete == image.complete


def test_classes_come_back_from_the_formats_that_have_them(folder, tmp_path):
    pictures = [Picture(path=str(folder / f"{number}.png")) for number in range(2)]
    images = [
        AnnotatedImage(pictures[0], cats={"a": 1.0, "b": 0.0}),
        AnnotatedImage(pictures[1], cats={"a": 0.0, "b": 1.0}),
    ]
    for format, name in {**NAMES, "folders": "classes"}.items():
        if format in ("coco", "voc"):
            continue
        path = tmp_path / name
        write_images(images, path, format, nlp=spacy.blank("image"), folder=folder)
        assert guess_format(path) == format
        back = read_images(path, format, images=folder).images
        assert [image.cats for image in back] == [image.cats for image in images]
        assert [image.boxes for image in back] == [None, None]


def test_caption_and_picture_in_memory_survive_spacy(tmp_path):
    nlp = spacy.blank("en")
    image = AnnotatedImage(Picture.from_source(CORNERS), caption="Four corners", cats={"a": 1.0})
    assert read_doc(make_gold_doc(nlp, image)) == image
    write_images([image], tmp_path / "a.spacy", "spacy", nlp=nlp)
    reader = read_images(tmp_path / "a.spacy", "spacy")
    assert reader.images == [image]
    (example,) = reader(nlp)
    assert [token.text for token in example.predicted] == ["Four", "corners"]
    assert get_picture(example.predicted) == image.picture
    assert not example.predicted.cats


def test_corpus_of_spacy_reads_what_was_converted(folder, tmp_path):
    nlp = spacy.blank("image")
    image = AnnotatedImage(Picture(path=str(folder / "0.png")), boxes=(Box("a", 1, 2, 3, 4),))
    write_images([image], tmp_path / "a.spacy", "spacy", nlp=nlp)
    (example,) = Corpus(tmp_path / "a.spacy")(nlp)
    assert get_boxes(example.reference) == image.boxes
    assert get_picture(example.predicted) == image.picture


def test_folder_of_spacy_files_is_read_and_paths_may_be_moved(folder, tmp_path):
    nlp = spacy.blank("image", config={"nlp": {"tokenizer": {"root": str(tmp_path / "old")}}})
    doc = nlp("0.png")
    assert read_doc(doc).caption is None
    relative = make_gold_doc(nlp, AnnotatedImage(Picture(path="0.png"), cats={"a": 1.0}))
    (tmp_path / "in").mkdir()
    DocBin(docs=[relative], store_user_data=True).to_disk(tmp_path / "in" / "x.spacy")
    assert guess_format(tmp_path / "in") == "spacy"
    (image,) = read_images(tmp_path / "in", "spacy", images=folder).images
    assert image.picture.path == str(folder / "0.png")
    with pytest.raises(FileNotFoundError, match=r"x\.spacy, document 1: there is no picture 0"):
        _ = read_images(tmp_path / "in", "spacy").images


def test_damaged_spacy_file_and_doc_without_a_picture_are_named(tmp_path):
    (tmp_path / "a.spacy").write_bytes(b"not a DocBin")
    with pytest.raises(ValueError, match=r"a\.spacy: this is not a file of spaCy's DocBin"):
        _ = read_images(tmp_path / "a.spacy", "spacy").images
    docs = [Doc(spacy.blank("en").vocab, ["word"])]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "b.spacy")
    with pytest.raises(ValueError, match=r"b\.spacy, document 1: the document 'word ' has no pic"):
        _ = read_images(tmp_path / "b.spacy", "spacy").images


def test_pictures_in_memory_are_saved_where_a_format_needs_files(tmp_path):
    nlp = spacy.blank("image")
    images = [AnnotatedImage(Picture.from_source(CORNERS), boxes=(Box("a", 1, 1, 2, 2),))]
    for format in ("coco", "voc"):
        with pytest.raises(ValueError, match="is in memory, and the format needs files: .*--save"):
            write_images(images, tmp_path / NAMES[format], format, nlp=nlp)
    saved = save_pictures(images, tmp_path / "pictures")
    assert saved[0].picture.key == images[0].picture.key
    assert save_pictures(saved, tmp_path / "nowhere") == saved
    write_images(saved, tmp_path / "a.json", "coco", nlp=nlp)
    (record,) = json.loads((tmp_path / "a.json").read_text())["images"]
    assert record["file_name"] == f"{images[0].picture.name}.png"
    (back,) = read_images(tmp_path / "a.json", "coco", images=tmp_path / "pictures").images
    assert back == saved[0]


def test_paths_are_written_from_the_folder_of_all_pictures(folder, tmp_path):
    other = write_image(tmp_path / "x" / "y.png")
    images = [
        AnnotatedImage(Picture(path=str(path)), boxes=()) for path in (folder / "0.png", other)
    ]
    common = common_folder(images)
    assert common in folder.parents
    assert common in other.parents
    assert common_folder([]) == Path.cwd()
    with pytest.raises(ValueError, match=r"y\.png is not in the folder .* --relative-to"):
        write_images(images, tmp_path / "a.json", "coco", nlp=spacy.blank("image"), folder=folder)


def test_unknown_formats_and_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no format 'yolo', only coco, voc, prodigy"):
        read_images(tmp_path, "yolo")
    with pytest.raises(ValueError, match="there is no format 'yolo'"):
        write_images([], tmp_path, "yolo", nlp=spacy.blank("image"))
    with pytest.raises(ValueError, match=r"the format 'coco' has no such setting: .*split"):
        read_images(tmp_path, "coco", split="train")
    with pytest.raises(ValueError, match=r"cannot tell the format of a\.txt: name it with --from"):
        guess_format(Path("a.txt"))
