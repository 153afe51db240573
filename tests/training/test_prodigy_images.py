"""`spacy-torch.ProdigyImages.v1`."""

import base64
import json

import pytest
import spacy
from images import CORNERS, as_bytes, write_image
from spacy.util import registry

from spacy_torch.features.boxes import Box, get_boxes, get_rejected, has_boxes, is_complete
from spacy_torch.features.image_docs import get_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.noticed import Noticed
from spacy_torch.training.prodigy_images import count_lost, image_to_tasks

# What image.manual saves, with all that it adds to a box.
LINE = {
    "image": "a.png",
    "width": 6,
    "height": 4,
    "_input_hash": 1,
    "_task_hash": 2,
    "_view_id": "image_manual",
    "spans": [
        {
            "id": "4d6b",
            "label": "red",
            "color": "yellow",
            "x": 0.5,
            "y": 1,
            "height": 2,
            "width": 3,
            "center": [2, 2],
            "type": "rect",
            "points": [[0.5, 1], [0.5, 3], [3.5, 3], [3.5, 1]],
        }
    ],
    "answer": "accept",
    "_annotator_id": "x",
    "_session_id": "x",
}
RED = Box("red", 0.5, 1, 3, 2)
ONE_BOX = {**LINE, "_view_id": "image"}
CLASS = {"image": "a.png", "label": "CAT", "_view_id": "classification", "answer": "accept"}
CHOICE = {
    "image": "a.png",
    "options": [{"id": "CAT", "text": "cat"}, {"id": "DOG", "text": "dog"}],
    "accept": ["DOG"],
    "_view_id": "choice",
    "answer": "accept",
}


@pytest.fixture
def read(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")

    def read_lines(*tasks, **settings):
        path = tmp_path / "tasks.jsonl"
        lines = [task if isinstance(task, str) else json.dumps(task) for task in tasks]
        path.write_text("\n".join(lines), encoding="utf8")
        block = {"@readers": "spacy-torch.ProdigyImages.v1", "path": str(path), **settings}
        reader = registry.resolve({"corpus": block})["corpus"]
        return reader, [example.reference for example in reader(spacy.blank("image"))]

    return read_lines


def test_accepted_image_has_these_boxes_and_no_others(read):
    _, (doc,) = read(LINE)
    assert get_boxes(doc) == (RED,)
    assert is_complete(doc)
    _, (doc,) = read({**LINE, "spans": []})
    assert get_boxes(doc) == ()
    assert is_complete(doc)
    _, (doc,) = read({"image": "a.png", "_view_id": "image_manual"})
    assert is_complete(doc)


def test_rejected_and_ignored_images_say_nothing_and_are_counted(read):
    vague = {**ONE_BOX, "spans": LINE["spans"] * 2, "answer": "reject"}
    lines = [{**LINE, "answer": "reject"}, {**LINE, "answer": "ignore"}, vague]
    nothing = {"image": "a.png", "answer": "reject"}
    reader, (doc,) = read({**LINE, "image": "b.png"}, *lines, nothing)
    assert get_picture(doc).path.endswith("b.png")
    assert reader.noticed.counts == {
        "lines skipped that are rejected as a whole": 3,
        "lines skipped that are ignored": 1,
    }
    with pytest.raises(ValueError, match="has no annotated images: 1 lines skipped that are ign"):
        read(lines[1])


def test_questions_about_single_boxes_are_gathered_by_image(read):
    other = {**LINE["spans"][0], "x": 2, "label": "blue"}
    lines = [ONE_BOX, {**ONE_BOX, "spans": [other], "answer": "reject"}, ONE_BOX]
    _, (doc,) = read(*lines)
    assert get_boxes(doc) == (RED,)
    assert get_rejected(doc) == (Box("blue", 2, 1, 3, 2),)
    assert not is_complete(doc)
    _, (doc,) = read(*lines, {**LINE, "spans": []})
    assert get_boxes(doc) == ()
    assert len(get_rejected(doc)) == 1
    assert is_complete(doc)


def test_rejected_box_without_an_interface_is_taken_for_a_question(read):
    _, (doc,) = read({"image": "a.png", "spans": LINE["spans"], "answer": "reject"})
    assert (get_boxes(doc), get_rejected(doc)) == ((), (RED,))


def test_answers_about_classes_are_cats(read):
    _, (doc,) = read(CLASS)
    assert doc.cats == {"CAT": 1.0}
    assert not has_boxes(doc)
    _, (doc,) = read(CLASS, {**CLASS, "label": "DOG", "answer": "reject"})
    assert doc.cats == {"CAT": 1.0, "DOG": 0.0}
    _, (doc,) = read(CHOICE)
    assert doc.cats == {"CAT": 0.0, "DOG": 1.0}
    _, (doc,) = read({**CHOICE, "accept": []})
    assert doc.cats == {"CAT": 0.0, "DOG": 0.0}
    _, (doc,) = read(LINE, CHOICE)
    assert (get_boxes(doc), doc.cats) == ((RED,), {"CAT": 0.0, "DOG": 1.0})


def test_polygon_is_read_as_the_box_around_it(read):
    span = {"label": "red", "type": "polygon", "points": [[1, 0], [4, 1], [2, 3]]}
    reader, (doc,) = read({**LINE, "spans": [span]})
    assert get_boxes(doc) == (Box("red", 1, 0, 3, 3),)
    assert reader.noticed.counts == {"polygons read as the boxes around them": 1}


def test_picture_may_be_a_data_uri(read):
    content = as_bytes(CORNERS)
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    _, (doc,) = read({**LINE, "image": uri})
    assert get_picture(doc).data == content
    assert doc.text == get_picture(doc).name


def test_text_may_be_a_caption(read):
    _, (doc,) = read({**LINE, "text": "two words"}, caption_key="text")
    assert doc.text == "two words"
    assert get_picture(doc).path.endswith("a.png")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ({"spans": []}, "line 2: 'image' must be text that is not empty, got None"),
        ({**LINE, "answer": "yes"}, "line 2: 'answer' must be one of accept, reject, ignore, got"),
        ({**LINE, "spans": "x"}, "line 2: 'spans' must be a list, got 'x'"),
        ({**LINE, "spans": [1]}, "line 2: a span must be an object, got 1"),
        ({**LINE, "spans": [{"x": 1}]}, "line 2: 'label' must be text"),
        ({**LINE, "spans": [{"label": "a"}]}, "line 2: a span must have 'x', 'y', 'width' and"),
        ({**LINE, "spans": [{"label": "a", "points": [[1], [2, 3]]}]}, "line 2: a span must have"),
        ({**LINE, "spans": [{**LINE["spans"][0], "x": "1"}]}, "line 2: 'x' must be a finite numb"),
        ({**CHOICE, "accept": ["COW"]}, "line 2: 'accept' has 'COW', which is not an option"),
        ({**LINE, "image": "https://a.b/c.png"}, r"line 2: .*nothing is fetched from a URL"),
        ({**LINE, "image": "../../etc/passwd"}, r"line 2: .*leads out of the folder"),
        ({**LINE, "image": "data:image/png;base64,?"}, "line 2: .*is not valid Base64"),
        (
            {**LINE, "image": "data:image/png;base64,aGVsbG8="},
            "line 2: image-.*: this is not an",
        ),
    ],
)
def test_mistake_in_a_file_is_named_with_its_line(read, task, message):
    with pytest.raises(ValueError, match=message):
        read(LINE, task)


def test_missing_picture_and_unknown_label_are_named_with_their_line(read):
    with pytest.raises(FileNotFoundError, match=r"line 2: there is no picture .*nope\.png"):
        read(LINE, {**LINE, "image": "nope.png"})
    for line in (LINE, CLASS, CHOICE):
        with pytest.raises(ValueError, match=r"line 1: there is no label .*, only other"):
            read(line, labels=["other"])


def test_written_span_has_all_that_the_interface_reads():
    image = AnnotatedImage(Picture.from_source(CORNERS), boxes=(RED,))
    (task,) = image_to_tasks(image, name_of=lambda _: "a.png")
    span = LINE["spans"][0]
    assert task["spans"] == [{key: span[key] for key in span if key not in ("id", "color")}]
    assert (task["width"], task["height"]) == (6, 4)
    assert task["image"].startswith("data:image/png;base64,iVBOR")


def test_what_prodigy_cannot_say_is_counted():
    noticed = Noticed()
    picture = Picture.from_source(CORNERS)
    count_lost(AnnotatedImage(picture, boxes=(), complete=False), noticed)
    count_lost(AnnotatedImage(picture, cats={"a": 0.3, "b": 1.0}), noticed)
    assert noticed.counts == {
        "images of which nothing is known, left out": 1,
        "probabilities of classes written as yes or no": 1,
    }
