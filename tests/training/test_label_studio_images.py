"""`spacy-torch.LabelStudioImages.v1`."""

import json

import pytest
import spacy
from images import CORNERS, write_image
from spacy.util import registry

from spacy_torch.features.boxes import Box, get_boxes, has_boxes, is_complete
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.label_studio_images import images_to_tasks
from spacy_torch.training.noticed import Noticed

# A picture of 6 x 4 pixels: 50 % is 3 pixels across and 2 down.
VALUE = {"x": 50, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["red"]}
REGION = {
    "id": "abc",
    "type": "rectanglelabels",
    "from_name": "label",
    "to_name": "image",
    "original_width": 6,
    "original_height": 4,
    "image_rotation": 0,
    "value": VALUE,
}
CHOICE = {"type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["cat"]}}
RED = Box("red", 3, 1, 3, 2)


def task(*result, image="a.png", **more):
    return {"id": 5, "data": {"image": image}, "annotations": [{"result": list(result), **more}]}


@pytest.fixture
def read(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "upload" / "1" / "b c.png")

    def read_tasks(*tasks, suffix="json", **settings):
        path = tmp_path / f"tasks.{suffix}"
        lines = "\n".join(json.dumps(task) for task in tasks)
        path.write_text(json.dumps(tasks) if suffix == "json" else lines, encoding="utf8")
        block = {"@readers": "spacy-torch.LabelStudioImages.v1", "path": str(path), **settings}
        reader = registry.resolve({"corpus": block})["corpus"]
        return reader, [example.reference for example in reader(spacy.blank("image"))]

    return read_tasks


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_percentages_become_pixels(read, suffix):
    _, (doc, empty) = read(task(REGION), task(), suffix=suffix)
    assert get_boxes(doc) == (RED,)
    assert is_complete(doc)
    assert get_boxes(empty) == ()
    assert is_complete(empty)


def test_chosen_classes_apply_and_the_others_of_the_file_do_not(read):
    dog = {**CHOICE, "value": {"choices": ["dog"]}}
    _, (first, second, both) = read(task(CHOICE), task(dog), task(CHOICE, REGION))
    assert first.cats == {"cat": 1.0, "dog": 0.0}
    assert second.cats == {"cat": 0.0, "dog": 1.0}
    assert not has_boxes(first)
    assert (get_boxes(both), both.cats) == ((RED,), {"cat": 1.0, "dog": 0.0})


def test_turned_box_is_read_as_the_upright_one_around_it(read):
    # By 90 degrees clockwise about its upper left corner (3, 1), so it lies to the left of it.
    turned = {**REGION, "value": {**VALUE, "rotation": 90}}
    reader, (doc,) = read(task(turned))
    (box,) = get_boxes(doc)
    assert tuple(box) == ("red", *map(pytest.approx, (1, 1, 2, 3, 1.0)))
    assert reader.noticed.counts == {"turned boxes read as the upright ones around them": 1}


def test_paths_of_served_files_are_found(read):
    for image in ("/data/upload/1/b c.png", "/data/local-files/?d=upload/1/b%20c.png"):
        _, (doc,) = read(task(REGION, image=image))
        assert get_picture(doc).path.endswith("upload/1/b c.png")


def test_one_of_several_annotations_counts(read):
    true = {"result": [REGION], "ground_truth": True}
    tasks = [
        {"data": {"image": "a.png"}, "annotations": [true, {"result": []}]},
        {"data": {"image": "a.png"}, "annotations": [{"result": [REGION]}, {"result": []}]},
        {"data": {"image": "a.png"}, "annotations": [{"result": [REGION], "was_cancelled": True}]},
        {"data": {"image": "a.png"}, "annotations": []},
    ]
    reader, docs = read(*tasks)
    assert [get_boxes(doc) for doc in docs] == [(RED,), ()]
    assert reader.noticed.counts == {
        "tasks with several annotations, of which one counts": 2,
        "tasks skipped that are not annotated": 2,
    }


def test_what_is_no_box_is_left_out_and_counted(read):
    polygon = {"type": "polygonlabels", "value": {}}
    unlabelled = {**REGION, "value": {**VALUE, "rectanglelabels": []}}
    reader, (doc,) = read(task(polygon, unlabelled, {**REGION, "score": 0.5}))
    assert get_boxes(doc) == (RED._replace(score=0.5),)
    assert reader.noticed.counts == {
        "results that are neither boxes nor choices": 1,
        "boxes without a label left out": 1,
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (3, "task 2: a task must be an object, got 3"),
        ({"image": "a.png"}, r"must have 'data' and 'annotations', or be .*JSON-MIN.*\['image'\]"),
        ({"annotations": [{}]}, "task 2: 'data' must be an object, got None"),
        (task(3), r"task 2 \(id 5\): a result must be an object, got 3"),
        (task({**REGION, "value": 3}), "'value' must be an object"),
        (task({**REGION, "value": {**VALUE, "x": None}}), "'x' must be a finite number, got None"),
        (task({**REGION, "image_rotation": 90}), "the image was turned by 90 degrees"),
        (task(image="http://localhost:8080/a.png"), "nothing is fetched from a URL"),
        (task(image="/data/../../secret.png"), "leads out of the folder"),
        ({**task(), "annotations": {"result": []}}, "'annotations' must be a list"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_task(read, bad, message):
    with pytest.raises(ValueError, match=message):
        read(task(REGION), bad)


def flat(number=5, image="a.png", **results):
    """A record of JSON-MIN, as Label Studio 1.23 writes it."""
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    about = {"annotator": 1, "annotation_id": number + 100, **times, "lead_time": 2.5}
    return {"image": image, "source": "web", "id": number, **results, **about}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_the_minimal_form_says_the_same(read, suffix):
    region = {**VALUE, "original_width": 6, "original_height": 4}
    two = [{"choices": ["cat", "dog"]}]
    _, docs = read(
        flat(1, label=[region]), flat(2, choice="cat"), flat(3, kinds=two), flat(4, label=[]),
        suffix=suffix,
    )  # fmt: skip
    whole = [task(REGION), task(CHOICE), task({**CHOICE, "value": two[0]}), task()]
    _, wanted = read(*whole, suffix=suffix)
    assert [(get_boxes(doc), has_boxes(doc), doc.cats) for doc in docs] == [
        (get_boxes(doc), has_boxes(doc), doc.cats) for doc in wanted
    ]


def test_of_several_minimal_records_of_a_task_the_last_counts(read):
    green = {**VALUE, "rectanglelabels": ["green"]}
    reader, docs = read(flat(1, label=[VALUE]), flat(2), flat(1, label=[green]))
    assert [[box.label for box in get_boxes(doc)] for doc in docs] == [["green"], []]
    assert reader.noticed.counts["tasks with several annotations, of which one counts"] == 1


def test_what_label_studio_cannot_say_is_counted():
    picture = Picture.from_source(CORNERS)
    images = [
        AnnotatedImage(picture, boxes=(RED,), rejected=(RED,), complete=False),
        AnnotatedImage(picture, cats={"a": 0.0}),
    ]
    noticed = Noticed()
    assert len(list(images_to_tasks(images, name_of=lambda _: "a", noticed=noticed))) == 1
    assert noticed.counts == {
        "rejected boxes left out": 1,
        "images with some boxes only, as if all": 1,
        "images left out that have no boxes and are of no class": 1,
    }
