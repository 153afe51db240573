"""`spacy-torch.PascalVOC.v1`."""

import pytest
import spacy
from images import CORNERS, write_image
from spacy.util import registry

from spacy_torch.features.boxes import Box, is_complete
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.noticed import Noticed
from spacy_torch.training.pascal_voc import write_pascal_voc

OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>"
    "<ymax>{3}</ymax></bndbox></object>"
)


def xml(*objects, file="a.png"):
    return f"<annotation><filename>{file}</filename>{''.join(objects)}</annotation>"


def box(*corners, name="red"):
    return OBJECT.format(*corners, name=name)


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        write_image(tmp_path / "JPEGImages" / f"{name}.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    return tmp_path


def read(folder, **settings):
    block = {"@readers": "spacy-torch.PascalVOC.v1", "path": str(folder), **settings}
    reader = registry.resolve({"corpus": block})["corpus"]
    return reader, list(reader(spacy.blank("image")))


def test_images_have_all_their_boxes_by_the_names_of_the_files(folder):
    (folder / "Annotations" / "b.xml").write_text(xml(file="b.png"))
    (folder / "Annotations" / "a.xml").write_text(xml(box(0, 0, 3, 2), box(1.5, 1, 6, 4, name="x")))
    _, (first, second) = read(folder)
    assert first.reference._.boxes == (Box("red", 0, 0, 3, 2), Box("x", 1.5, 1, 4.5, 3))
    assert second.reference._.boxes == ()
    assert is_complete(second.reference)
    assert get_picture(second.predicted).path == str(folder / "JPEGImages" / "b.png")


def test_pixels_may_be_counted_from_one(folder):
    # The first pixel alone is 1, 1, 1, 1, and all of 6 x 4 pixels are 1, 1, 6, 4.
    (folder / "Annotations" / "a.xml").write_text(xml(box(1, 1, 1, 1), box(1, 1, 6, 4)))
    _, (example,) = read(folder, from_one=True)
    assert example.reference._.boxes == (Box("red", 0, 0, 1, 1), Box("red", 0, 0, 6, 4))
    reader, (example,) = read(folder)
    assert example.reference._.boxes == (Box("red", 1, 1, 5, 3),)
    assert reader.noticed.counts == {"boxes without an area left out": 1}


def test_split_names_the_files_and_their_order(folder):
    for name in "abc":
        (folder / "Annotations" / f"{name}.xml").write_text(xml(file=f"{name}.png"))
    (folder / "ImageSets" / "Main" / "train.txt").write_text("c\n\na  1\n")
    _, examples = read(folder, split="train")
    names = [get_picture(example.predicted).path[-5:] for example in examples]
    assert names == ["c.png", "a.png"]
    (folder / "ImageSets" / "Main" / "odd.txt").write_text("../../secret\n")
    with pytest.raises(FileNotFoundError, match=r"Annotations/secret\.xml"):
        read(folder, split="odd")


def test_folder_of_files_alone_has_its_pictures_beside_them(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(xml(box(0, 0, 3, 2)))
    _, (example,) = read(tmp_path)
    assert len(example.reference._.boxes) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", r"a\.xml: not valid XML"),
        ("<!DOCTYPE x [<!ENTITY y 'z'>]><annotation/>", r"a\.xml: a file with a document type"),
        ("<annotation/>", r"a\.xml: <filename> is missing or empty: this is not Pascal VOC"),
        (xml(box(0, 0, 3, "x")), r"a\.xml, object 1: <bndbox/ymax> must be a finite number, got"),
        (xml(box(0, 0, 3, "nan")), "must be a finite number, got 'nan'"),
        (xml(box(0, 0, 3, 2), "<object/>"), r"a\.xml, object 2: <name> is missing"),
        (xml(box(0, 0, 3, 2, name=" ")), "object 1: <name> is missing or empty"),
        (xml(file="../../a.png"), r"a\.xml: \.\./\.\./a\.png: this leads out of the folder"),
        (xml(file="/etc/passwd"), r"a\.xml: /etc/passwd: this leads out of the folder"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_object(folder, content, message):
    (folder / "Annotations" / "a.xml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_unknown_label_and_missing_folder_are_errors(folder):
    (folder / "Annotations" / "a.xml").write_text(xml(box(0, 0, 3, 2)))
    with pytest.raises(ValueError, match="object 1: there is no label 'red', only blue, green"):
        read(folder, labels=["green", "blue"])
    with pytest.raises(FileNotFoundError, match="none: there is no such folder of XML files"):
        read(folder / "none")


def test_what_cannot_be_written_is_counted_or_refused(tmp_path):
    picture = Picture.from_source(CORNERS)
    noticed = Noticed()
    boxes = (Box("a & b", 0, 0.25, 1, 1, 0.5),)
    known = AnnotatedImage(picture, boxes=boxes, rejected=boxes, complete=False)
    images = [known, AnnotatedImage(picture, cats={"a": 1.0})]
    write_pascal_voc(images, tmp_path, name_of=lambda _: "a.png", noticed=noticed)
    assert noticed.counts == {
        "scores of boxes left out": 1,
        "rejected boxes left out": 1,
        "images with some boxes only, as if all": 1,
        "classes of images left out": 1,
        "images left out of which no boxes are known": 1,
    }
    assert "<ymin>0.25</ymin>" in (tmp_path / "Annotations" / "a.xml").read_text()
    with pytest.raises(ValueError, match=r"would both be a\.xml: rename one"):
        write_pascal_voc([known] * 2, tmp_path, name_of=lambda _: "a.png", noticed=noticed)
    bad = AnnotatedImage(picture, boxes=(Box("\0", 0, 0, 1, 1),))
    with pytest.raises(ValueError, match="a label cannot be written in XML"):
        write_pascal_voc([bad], tmp_path, name_of=lambda _: "b.png", noticed=noticed)
