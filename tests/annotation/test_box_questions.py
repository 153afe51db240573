"""Boxes are asked about one by one, or all at once, and answers become examples."""

import json

import numpy as np
import pytest
import spacy
import tiny_boxes
from fixed_detector import CELL, DUST
from hypothesis import given
from hypothesis import strategies as st
from images import draw_patterns
from spacy.training import Example
from spacy.util import fix_random_seed, registry

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.box_questions import read_places, to_span
from spacy_torch.annotation.kinds import find_questions
from spacy_torch.features.boxes import Box, get_boxes, get_rejected, is_complete
from spacy_torch.features.picture import Picture
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.prodigy_images import task_to_image


@pytest.fixture
def images(tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        pixels = np.full((40, 50, 3), number, dtype="uint8")
        Picture.from_source(pixels).open().save(path)
    return paths


def make_learner(images, kind, **options):
    nlp = spacy.blank("image")
    nlp.add_pipe("fixed_detector", name="detector")
    return ActiveLearner(
        nlp,
        find_questions(nlp, "detector", kind),
        [{"image": path} for path in images],
        strategy=registry.torch_query_strategies.get("spacy-torch.Margin.v1")(),
        settings=Settings(**{"batch": 8, "epochs": 1, **options}),
    )


def answer(image, answer, *boxes, whole=False):
    spans = [to_span(box) for box in boxes]
    view = "image_manual" if whole else "image"
    return {"image": image, "spans": spans, "answer": answer, "_view_id": view}


def test_each_probable_box_is_a_question_with_its_own_hash(images):
    tasks = make_learner(images, "binary", epsilon=0.0).ask()
    assert len(tasks) == 6
    assert len({task["_task_hash"] for task in tasks}) == 6
    assert len({task["_input_hash"] for task in tasks}) == 3
    for task in tasks:
        assert (task["width"], task["height"], task["_view_id"]) == (50, 40, "image")
        (span,) = task["spans"]
        box = CELL if span["label"] == "CELL" else DUST
        assert [span[key] for key in ("x", "y", "width", "height")] == list(box[1:5])
        assert task["meta"]["score"] == box.score
        assert json.loads(json.dumps(task)) == task
    # The least certain ones come first.
    assert [task["label"] for task in tasks] == ["DUST"] * 3 + ["CELL"] * 3


def test_by_hand_the_likely_boxes_are_drawn_already(images):
    learner = make_learner(images, "manual", epsilon=1.0)
    tasks = learner.ask()
    assert [[span["label"] for span in task["spans"]] for task in tasks] == [["CELL"]] * 3
    learner.receive([{**tasks[0], "answer": "accept"}])
    learner.receive([{**tasks[1], "answer": "accept", "spans": []}])
    assert learner.progress().accuracy == 0.5
    assert [task["image"] for task in learner.ask()] == [tasks[2]["image"]]


def test_the_question_is_the_same_when_other_boxes_are_found(images):
    learner = make_learner(images[:1], "manual")
    (before,) = learner.ask()
    learner = make_learner(images[:1], "manual")
    learner.questions.component.boxes = []
    (after,) = learner.ask()
    assert after["spans"] != before["spans"]
    assert after["_task_hash"] == before["_task_hash"]


def test_of_single_boxes_nothing_else_is_known(images):
    learner = make_learner(images, "binary")
    learner.receive([answer(images[0], "accept", CELL), answer(images[0], "reject", DUST)])
    reference = learner.questions.component.learned[-1].reference
    assert [box[:5] for box in get_boxes(reference)] == [CELL[:5]]
    assert [box[:5] for box in get_rejected(reference)] == [DUST[:5]]
    assert not is_complete(reference)


def test_of_boxes_drawn_by_hand_all_is_known(images):
    learner = make_learner(images, "binary")
    learner.receive([answer(images[0], "accept", CELL)])
    learner.receive([answer(images[0], "accept", whole=True)])
    reference = learner.questions.component.learned[-1].reference
    assert get_boxes(reference) == ()
    assert is_complete(reference)


@pytest.mark.parametrize(
    ("verdict", "shift", "expected"),
    # A shift by s of a box 10 wide shares (10 - s) / (10 + s).
    [
        ("accept", 0, True),
        ("accept", 3, True),  # 0.54
        ("accept", 4, False),  # 0.43
        ("reject", 1, True),  # 0.82
        ("reject", 3, False),
        ("ignore", 1, True),
        ("ignore", 3, False),
    ],
)
def test_a_box_that_has_moved_a_little_is_not_asked_again(images, verdict, shift, expected):
    questions = make_learner(images, "binary").questions
    moved = CELL._replace(x=CELL.x + shift)
    given = [answer(images[0], verdict, CELL)]
    assert questions.is_answered(answer(images[0], "", moved), given) is expected
    other = moved._replace(label="DUST")
    assert not questions.is_answered(answer(images[0], "", other), given)


def test_a_session_asks_about_every_box_once(images):
    learner = make_learner(images, "binary", window=1)
    n_asked = 0
    while tasks := learner.ask(1):
        n_asked += 1
        learner.receive([{**task, "answer": "reject"} for task in tasks])
    assert n_asked == 6


def test_ignoring_one_box_leaves_the_others_of_the_picture(images):
    learner = make_learner(images[:1], "binary")
    (task,) = learner.ask(1)
    learner.receive([{**task, "answer": "ignore"}])
    (other,) = learner.ask()
    assert other["label"] != task["label"]


def test_polygons_are_read_as_the_boxes_around_them():
    points = [[1, 2], [5, 1], [4, 9]]
    task = {"image": "a.png", "spans": [{"label": "CELL", "type": "polygon", "points": points}]}
    assert read_places(task) == [("CELL", 1, 1, 4, 8)]


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({**to_span(CELL), "label": "ODD"}, "about the label 'ODD'"),
        ({**to_span(CELL), "label": None}, "a box must have a 'label'"),
        ({**to_span(CELL), "width": 0}, "and 'x', 'y', 'width' and 'height' above 0"),
        ({**to_span(CELL), "x": "left"}, "a box must have"),
        ({**to_span(CELL), "x": float("nan")}, "a box must have"),
        ({"label": "CELL"}, "or 'points', got"),
        ({"label": "CELL", "points": [[1, 2]]}, "a box must have"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(images, span, message):
    questions = make_learner(images, "binary").questions
    with pytest.raises(ValueError, match=message):
        questions.check({"image": images[0], "spans": [span], "answer": "accept"})


sides = st.floats(0, 30).map(lambda value: round(value, 2))


@given(st.builds(Box, st.just("CELL"), sides, sides, sides.map(lambda s: s + 1), st.just(2.5)))
def test_what_is_written_is_read_again_also_by_points_alone(box):
    span = to_span(box)
    (place,) = read_places({"image": "", "spans": [span]})
    assert list(place[1:]) == pytest.approx(list(box[1:5]), abs=0.02)
    points = {"label": "CELL", "points": span["points"]}
    (again,) = read_places({"image": "", "spans": [points]})
    assert list(again[1:]) == pytest.approx(list(place[1:]), abs=0.02)


def test_the_reader_of_prodigys_files_understands_the_answers(images, tmp_path):
    source = ImageSource(tmp_path)
    task = answer(images[0].rsplit("/", 1)[-1], "reject", CELL)
    image = task_to_image(task, source, where="line 1")
    assert [box[:5] for box in image.rejected] == [CELL[:5]]
    assert image.complete is False


# With a detector that learns ------------------------------------------------------------


def shared(span, place):
    """Intersection over union with a pattern."""
    label, x, y = place
    width = min(span["x"] + span["width"], x + tiny_boxes.SIDE) - max(span["x"], x)
    height = min(span["y"] + span["height"], y + tiny_boxes.SIDE) - max(span["y"], y)
    if span["label"] != label or min(width, height) <= 0:
        return 0.0
    area = span["width"] * span["height"] + tiny_boxes.SIDE**2
    return width * height / (area - width * height)


def test_yes_and_no_to_single_boxes_make_a_detector_better(tmp_path):
    fix_random_seed(0)
    nlp = tiny_boxes.make_nlp(**tiny_boxes.FAST)
    truth = {str(tmp_path / f"{seed}.png"): tiny_boxes.draw_places(seed) for seed in range(30)}
    for seed, (path, places) in enumerate(truth.items()):
        Picture.from_source(draw_patterns(*places, seed=seed)).open().save(path)
    questions = find_questions(nlp, kind="binary")
    for label in tiny_boxes.LABELS:
        questions.component.add_label(label)
    docs = [questions.make_doc({"image": path}) for path in truth]
    nlp.initialize(lambda: [Example(doc, doc) for doc in docs])
    learner = ActiveLearner(
        nlp,
        questions,
        [{"image": path} for path in truth],
        strategy=registry.get("torch_query_strategies", "spacy-torch.Margin.v1")(),
        settings=Settings(batch=5, epochs=1, epsilon=0.0),
    )
    assert learner.ask() == []  # it has seen no box yet
    path, places = next(iter(truth.items()))
    drawn = [Box(label, x, y, tiny_boxes.SIDE, tiny_boxes.SIDE) for label, x, y in places]
    learner.receive([answer(path, "accept", *drawn, whole=True)])
    examples = tiny_boxes.make_examples(nlp, 20, first_seed=1000)
    before = nlp.evaluate(examples)["box_map50"]
    for _ in range(6):
        tasks = learner.ask()
        found = [max(shared(t["spans"][0], p) for p in truth[t["image"]]) for t in tasks]
        learner.receive(
            [
                {**task, "answer": "accept" if value >= 0.5 else "reject"}
                for task, value in zip(tasks, found, strict=True)
            ]
        )
    assert nlp.evaluate(examples)["box_map50"] > max(before + 0.1, 0.8)
