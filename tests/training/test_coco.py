"""`spacy-torch.COCO.v1`."""

import json
import logging

import pytest
import spacy
from images import CORNERS, write_image
from spacy.util import registry

from spacy_torch.features.boxes import Box, is_complete
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.coco import images_to_coco
from spacy_torch.training.noticed import Noticed

CATEGORIES = [{"id": 7, "name": "red"}, {"id": 9, "name": "blue"}]
IMAGE = {"id": 1, "file_name": "a.png", "width": 6, "height": 4}
RED = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 3, 2], "iscrowd": 0, "area": 6}
BLUE = {"id": 2, "image_id": 1, "category_id": 9, "bbox": [0, 2, 3, 2]}


@pytest.fixture
def read(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")

    def read_data(
        annotations=(),
        *,
        images=(IMAGE,),
        categories=CATEGORIES,
        data=None,
        folder=None,
        **settings,
    ):
        path = tmp_path / "annotations.json"
        parts = {"images": list(images), "annotations": list(annotations)}
        data = {**parts, "categories": categories} if data is None else data
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf8")
        block = {"@readers": "spacy-torch.COCO.v1", "path": str(path), "images": folder, **settings}
        reader = registry.resolve({"corpus": block})["corpus"]
        return reader, list(reader(spacy.blank("image")))

    return read_data


def test_image_has_all_its_boxes_and_the_pipeline_is_given_the_picture(read, tmp_path):
    _, (example,) = read([RED, BLUE])
    assert example.reference._.boxes == (Box("red", 0, 0, 3, 2), Box("blue", 0, 2, 3, 2))
    assert is_complete(example.reference)
    assert example.predicted._.boxes == ()
    for doc in (example.predicted, example.reference):
        assert get_picture(doc).path == str(tmp_path / "a.png")
        assert doc.text == str(tmp_path / "a.png")


def test_image_without_annotations_is_known_to_have_no_objects(read):
    _, (first, second) = read([RED], images=[IMAGE, {"id": "x", "file_name": "b.png"}])
    assert len(first.reference._.boxes) == 1
    assert second.reference._.boxes == ()
    assert is_complete(second.reference)


def test_boxes_that_do_not_fit_are_cut_left_out_and_counted_once(read, caplog):
    boxes = [[-1, 1, 3, 2], [4, 1, 9, 9], [0, 0, 6.3, 4], [1, 1, 0, 2], [7, 1, 2, 2], [0, 0, -1, 2]]
    with caplog.at_level(logging.WARNING):
        reader, (example,) = read([{**RED, "bbox": box} for box in boxes])
        list(reader(spacy.blank("image")))
    found = example.reference._.boxes
    # The third stands out by less than half a pixel, which is rounding and not counted.
    assert [tuple(box)[1:5] for box in found] == [(0, 1, 2, 2), (4, 1, 2, 3), (0, 0, 6, 4)]
    assert reader.noticed.counts == {
        "boxes cut to their pictures": 2,
        "boxes without an area left out": 2,
        "boxes outside of their pictures left out": 1,
    }
    (record,) = caplog.records
    assert "2 boxes cut to their pictures (first: " in record.message
    assert "annotations[0])" in record.message


def test_boxes_that_stand_out_may_be_refused(read):
    with pytest.raises(ValueError, match=r"annotations\[0\]: Box.*stands out of the picture of 6"):
        read([{**RED, "bbox": [4, 1, 9, 9]}], outside="error")
    read([{**RED, "bbox": [0, 0, 6.3, 4]}], outside="error")


def test_crowds_are_left_out_and_scores_kept(read):
    reader, (example,) = read([{**RED, "iscrowd": 1}, {**BLUE, "score": 0.25}])
    assert example.reference._.boxes == (Box("blue", 0, 2, 3, 2, 0.25),)
    assert reader.noticed.counts == {"crowds left out": 1}


def test_pictures_may_be_in_another_folder(read, tmp_path):
    write_image(tmp_path / "pictures" / "deep" / "c.png")
    image = {"id": 1, "file_name": "deep/c.png"}
    _, (example,) = read([RED], images=[image], folder=str(tmp_path / "pictures"))
    assert get_picture(example.reference).path == str(tmp_path / "pictures" / "deep" / "c.png")


def test_paths_may_be_allowed_to_leave_the_folder(read, tmp_path):
    image = {**IMAGE, "file_name": "../a.png"}
    (tmp_path / "pictures").mkdir()
    settings = {"folder": str(tmp_path / "pictures"), "allow_outside": True}
    _, (example,) = read([RED], images=[image], **settings)
    assert get_picture(example.reference).path == str(tmp_path / "a.png")


def test_number_of_images_may_be_limited(read):
    _, examples = read(images=[IMAGE, {"id": 2, "file_name": "b.png"}], limit=1)
    assert len(examples) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "{"}, r"annotations\.json: not valid JSON"),
        ({"data": []}, r"annotations\.json: the content must be an object"),
        ({"data": {"images": []}}, "'annotations' is missing: this is not a COCO file"),
        ({"annotations": [3]}, r"annotations\[0\]: an annotation must be an object, got 3"),
        ({"annotations": [{**RED, "bbox": [1, 2]}]}, r"\[0\]: 'bbox' must be \[x, y, width, he"),
        ({"annotations": [{**RED, "bbox": "abcd"}]}, r"\[0\]: 'bbox' must be a list, got 'abcd'"),
        ({"annotations": [{**RED, "bbox": [1, 2, "3", 4]}]}, "'bbox' must be a finite number, got"),
        ({"annotations": [{**RED, "bbox": [1, 2, True, 4]}]}, "must be a finite number, got True"),
        ({"annotations": [{**RED, "bbox": [1, 2, 10**400, 4]}]}, "must be a finite number, got 1"),
        ({"annotations": [RED, {**RED, "category_id": 8}]}, r"\[1\]: there is no category"),
        (
            {"annotations": [{**RED, "category_id": None}]},
            "'category_id' must be a whole number or",
        ),
        ({"annotations": [{**RED, "image_id": 5}]}, r"\[0\]: there is no image with the id 5"),
        ({"images": [IMAGE, IMAGE]}, r"images\[1\]: there is another image with the id 1"),
        ({"images": [{"id": 1}]}, r"images\[0\]: 'file_name' must be text that is not empty"),
        (
            {"images": [{**IMAGE, "file_name": "../a.png"}]},
            r"images\[0\]: \.\./a\.png: .*leads",
        ),
        ({"images": [{**IMAGE, "file_name": "http://a.b/c.png"}]}, "nothing is fetched from a URL"),
        ({"categories": [{"id": 1, "name": ""}]}, r"categories\[0\]: 'name' must be text"),
        ({"annotations": [RED], "labels": ["blue"]}, r"\[0\]: there is no label 'red', only blue"),
        ({"images": []}, r"annotations\.json has no annotated images: it is empty"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_place(read, change, message):
    with pytest.raises(ValueError, match=message):
        read(**change)


def test_missing_picture_is_named_with_the_place_that_names_it(read):
    with pytest.raises(FileNotFoundError, match=r"images\[0\]: there is no picture .*nope\.png"):
        read(images=[{**IMAGE, "file_name": "nope.png"}])


def test_file_that_is_not_utf8_or_not_there_is_named(tmp_path, read):
    path = tmp_path / "latin.json"
    path.write_bytes(b'{"images": "\xe9"}')
    block = {"@readers": "spacy-torch.COCO.v1", "path": str(path)}
    with pytest.raises(ValueError, match=r"latin\.json: byte 13 is not UTF-8"):
        list(registry.resolve({"corpus": block})["corpus"](spacy.blank("image")))
    block["path"] = str(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        list(registry.resolve({"corpus": block})["corpus"](spacy.blank("image")))
    with pytest.raises(ValueError, match=r"limit must be >= 0 .*, got -1"):
        read(limit=-1)


def test_what_coco_cannot_say_is_counted():
    picture = Picture.from_source(CORNERS)
    noticed = Noticed()
    box = Box("red", 0, 0, 1, 1)
    images = [
        AnnotatedImage(picture, boxes=(box,), rejected=(box, box), complete=False),
        AnnotatedImage(picture, cats={"a": 1.0}),
    ]
    data = images_to_coco(images, name_of=lambda picture: "a.png", noticed=noticed)
    assert len(data["images"]) == 1
    assert data["annotations"][0]["bbox"] == [0, 0, 1, 1]
    assert noticed.counts == {
        "rejected boxes left out": 2,
        "images with some boxes only, as if all": 1,
        "classes of images left out": 1,
        "images left out of which no boxes are known": 1,
    }
