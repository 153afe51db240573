"""Answers in Prodigy's form and results in Label Studio's are turned into each other."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import write_image

from spacy_torch.annotation.label_studio_interface import make_interface
from spacy_torch.annotation.label_studio_tasks import (
    make_question,
    read_annotation,
    read_shown,
    task_to_import,
    write_annotation,
    write_results,
)

LABELS = ("A", "B", "C")
CHOICES = make_interface("choices", LABELS, many=True)
SPANS = make_interface("labels", LABELS)
BOXES = make_interface("rectanglelabels", LABELS, media="image")
TEXT = "Löwe 🦁 and\nBär"
SIZE = {"width": 640, "height": 480}


def ask(interface, **source):
    views = {"choices": "choice", "labels": "ner_manual", "rectanglelabels": "image_manual"}
    source = source or {"text": TEXT}
    return make_question(source, LABELS, view_id=views[interface.kind])


def there_and_back(task, interface):
    annotation = {"id": 7, **write_annotation(task, interface)}
    question = {key: value for key, value in task.items() if key not in ("answer", "accept")}
    return read_annotation(annotation, question, interface)


@given(st.lists(st.sampled_from(LABELS), unique=True), st.sampled_from(["accept", "ignore"]))
def test_choices_come_back(accept, answer):
    task = {**ask(CHOICES), "answer": answer}
    task |= {"accept": accept} if answer == "accept" else {}
    assert there_and_back(task, CHOICES) == task


@st.composite
def spans(draw):
    start = draw(st.integers(0, len(TEXT) - 1))
    end = draw(st.integers(start + 1, len(TEXT)))
    return {"start": start, "end": end, "label": draw(st.sampled_from(LABELS))}


@given(st.lists(spans()))
def test_spans_come_back(found):
    task = {**ask(SPANS), "spans": found, "answer": "accept"}
    assert there_and_back(task, SPANS) == task


@st.composite
def boxes(draw):
    x, y = draw(st.floats(0, 600)), draw(st.floats(0, 440))
    width, height = draw(st.floats(0.1, 640 - x)), draw(st.floats(0.1, 480 - y))
    label = draw(st.sampled_from(LABELS))
    return {"label": label, "x": x, "y": y, "width": width, "height": height}


@given(st.lists(boxes()))
def test_boxes_come_back(found):
    task = {**ask(BOXES, image="a.png", **SIZE), "spans": found, "answer": "accept"}
    back = there_and_back(task, BOXES)
    assert [span["label"] for span in back["spans"]] == [span["label"] for span in found]
    for span, former in zip(back["spans"], found, strict=True):
        sides = ("x", "y", "width", "height")
        near = pytest.approx([former[key] for key in sides], abs=0.011)  # they are rounded
        assert [span[key] for key in sides] == near


def test_percent_are_of_the_width_and_the_height():
    task = {**ask(BOXES, image="a.png", **SIZE), "answer": "accept"}
    task["spans"] = [{"label": "A", "points": [[64, 48], [64, 96], [192, 96], [192, 48]]}]
    (result,) = write_results(task, BOXES)
    assert result["value"] == {
        **{"x": 10, "y": 10, "width": 20, "height": 10, "rotation": 0},
        "rectanglelabels": ["A"],
    }
    assert (result["original_width"], result["original_height"]) == (640, 480)


def test_without_a_size_that_of_the_picture_counts(tmp_path):
    write_image(tmp_path / "a.png")  # 6 x 4
    task = ask(BOXES, image=str(tmp_path / "a.png"))
    value = {"x": 50, "y": 50, "width": 50, "height": 100, "rectanglelabels": ["A", "B"]}
    result = {"from_name": "label", "type": "rectanglelabels", "value": value}
    first, second = read_annotation({"result": [result]}, task, BOXES)["spans"]
    # What stands out of the picture is cut.
    assert [first[key] for key in ("x", "y", "width", "height")] == [3, 2, 3, 2]
    assert (first["label"], second["label"]) == ("A", "B")
    with pytest.raises(ValueError, match="must have 'width' and 'height', or an 'image'"):
        write_results({"spans": [first]}, BOXES)


def test_a_box_outside_of_the_picture_is_none():
    value = {"x": 120, "y": 0, "width": 5, "height": 5, "rectanglelabels": ["A"]}
    result = {"from_name": "label", "type": "rectanglelabels", "value": value}
    answer = read_annotation({"result": [result]}, ask(BOXES, image="a.png", **SIZE), BOXES)
    assert answer["spans"] == []


def test_a_turned_rectangle_becomes_the_upright_box_around_it():
    # A quarter turn clockwise about the upper left corner: it lies to the left, and below.
    value = {"x": 50, "y": 10, "width": 10, "height": 20, "rotation": 90, "rectanglelabels": ["A"]}
    result = {"from_name": "label", "type": "rectanglelabels", "value": value}
    question = ask(BOXES, image="a.png", **SIZE)
    (span,) = read_annotation({"result": [result]}, question, BOXES)["spans"]
    sides = [span[key] for key in ("x", "y", "width", "height")]
    assert sides == pytest.approx([320 - 96, 48, 96, 64])


@pytest.mark.parametrize("answer", ["reject", "ignore"])
def test_what_says_nothing_is_cancelled_and_read_as_ignored(answer):
    task = {**ask(SPANS), "spans": [], "answer": answer}
    assert write_annotation(task, SPANS) == {"result": [], "was_cancelled": True}
    assert there_and_back(task, SPANS)["answer"] == "ignore"


def test_what_another_control_says_is_left_out():
    results = [
        {"from_name": "label", "type": "labels", "value": {"start": 0, "end": 4, "labels": ["A"]}},
        {"from_name": "notes", "type": "textarea", "value": {"text": ["nice"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    answer = read_annotation({"result": results}, ask(SPANS), SPANS)
    assert answer["spans"] == [{"start": 0, "end": 4, "label": "A"}]


def span_result(**value):
    return {"from_name": "label", "type": "labels", "value": value}


def box_result(**more):
    value = {"x": 0, "y": 0, "width": 1, "height": 1, "rectanglelabels": ["A"]}
    result = {"from_name": "label", "type": "rectanglelabels"}
    return {**result, "value": {**value, **more.pop("value", {})}, **more}


@pytest.mark.parametrize(
    ("interface", "result", "message"),
    [
        (SPANS, None, "annotation 7: 'result' must be a list of objects, got None"),
        (SPANS, ["x"], "'result' must be a list of objects"),
        (SPANS, [{**span_result(), "value": 3}], "'value' must be of Mapping, got 3"),
        (SPANS, [span_result(start="0", end=1)], "'start' must be of int, got '0'"),
        (SPANS, [span_result(start=0, end=99, labels=["A"])], "within the 14 characters"),
        (SPANS, [span_result(start=0, end=4, text="Lowe")], "the text of the task was changed"),
        (SPANS, [span_result(start=0, end=4, labels="A")], "must be a list of labels, got 'A'"),
        (BOXES, [box_result(value={"x": None})], "'x' must be a finite number, got None"),
        (BOXES, [box_result(image_rotation=90)], "the image was turned by 90 degrees"),
    ],
)
def test_what_label_studio_does_not_write_is_refused(interface, result, message):
    question = ask(interface, **({"image": "a.png", **SIZE} if interface is BOXES else {}))
    with pytest.raises(ValueError, match=message):
        read_annotation({"id": 7, "result": result}, question, interface)


def test_the_question_is_the_same_whatever_the_model_finds():
    one = make_question({"text": TEXT, "spans": [{"start": 0}]}, LABELS, view_id="ner_manual")
    assert one["_task_hash"] == ask(SPANS)["_task_hash"]
    assert ask(CHOICES)["_task_hash"] != one["_task_hash"]
    assert ask(CHOICES)["_input_hash"] == one["_input_hash"]


def test_a_task_is_imported_with_what_is_shown_and_its_meta(tmp_path):
    assert task_to_import({"text": "a", "meta": {"source": "web"}}, CHOICES) == {
        "data": {"text": "a"},
        "meta": {"source": "web"},
    }
    path = tmp_path / "a.png"
    write_image(path)
    encoded = base64.b64encode(path.read_bytes()).decode()
    task = task_to_import({"image": str(path)}, BOXES)
    assert task == {"data": {"image": f"data:image/png;base64,{encoded}"}}
    with pytest.raises(ValueError, match="shows 'image', which 'a' has not"):
        task_to_import({"text": "a"}, BOXES)


def test_what_is_shown_must_be_there():
    assert read_shown({"data": {"text": "a"}}, CHOICES) == "a"
    with pytest.raises(ValueError, match=r"task 3 has no text 'text' in its data.* \['body'\]"):
        read_shown({"id": 3, "data": {"body": "a"}}, CHOICES)
    with pytest.raises(ValueError, match="task 3 has no text"):
        read_shown({"id": 3}, CHOICES)
