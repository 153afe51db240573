"""Each recipe through a controller that works as Prodigy's does; see `prodigy_stub`."""

import importlib.util
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import fixed_detector  # noqa: F401  (registers it)
import numpy as np
import prodigy_stub
import pytest
import spacy
from spacy.training import Example
from tiny_encoder import ENCODER

import spacy_torch.annotation
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.tasks import read_tasks
from spacy_torch.features.picture import Picture

FILE = Path(spacy_torch.annotation.__file__).with_name("prodigy.py")
SAVED = Path(__file__).parent.parent / "assets" / "prodigy"
GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
THINGS = [
    f"{kind}{name}" for kind in ("big", "old", "red", "my") for name in ("film", "hat", "dog")
]
TEXTS = [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in THINGS]
NAMES = [
    f"torch.{task}.{end}"
    for task in ("textcat", "ner", "spans", "image")
    for end in ("teach", "correct")
] + ["torch.image.detect", "torch.image.detect.correct"]


@pytest.fixture
def make_prodigy(monkeypatch):
    """Prodigy with our recipes, which it finds as in a file given with -F."""

    def make(style="new"):
        stub = prodigy_stub.Prodigy(monkeypatch, style)
        spec = importlib.util.spec_from_file_location("recipes_of_a_test", FILE)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return stub

    return make


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(path)


def gold(text):
    return "POS" if text.split()[0] in GOOD else "NEG"


def reply(task):
    if "options" in task:
        return {**task, "accept": [gold(task["text"])], "answer": "accept"}
    return {**task, "answer": "accept" if task["label"] == gold(task["text"]) else "reject"}


def annotate(controller, n_batches, reply=reply):
    for _ in range(n_batches):
        tasks = controller.get_questions()
        if not tasks:
            return
        controller.receive_answers([reply(task) for task in tasks])


def score(path):
    nlp = spacy.load(path)
    found = [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(TEXTS)]
    return sum(a == gold(text) for a, text in zip(found, TEXTS, strict=True)) / len(TEXTS)


@pytest.mark.parametrize("style", ["new", "old"])
def test_all_recipes_are_registered_under_the_names_of_the_entry_points(make_prodigy, style):
    stub = make_prodigy(style)
    assert sorted(stub.recipes) == sorted(NAMES)
    points = {point.name: point for point in entry_points(group="prodigy_recipes")}
    assert sorted(points) == sorted(NAMES)
    for name, (function, _) in stub.recipes.items():
        assert points[name].load().__name__ == function.__name__
        assert function.__doc__


@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize("binary", [False, True])
def test_texts_are_learned_while_batches_are_on_the_way(
    make_prodigy, texts, tmp_path, style, binary
):
    stub = make_prodigy(style)
    arguments = ["answers", "blank:en", texts, "--label", "POS,NEG", "-o", str(tmp_path / "model")]
    controller = stub.run("torch.textcat.teach", *arguments, *(["--binary"] if binary else []))
    assert len(controller.queue) == controller.look_ahead
    annotate(controller, 6)
    controller.close()
    saved = stub.database.datasets["answers"]
    assert len(saved) == 60
    assert len({task["_task_hash"] for task in saved}) == 60
    assert {task["_view_id"] for task in saved} == {"classification" if binary else "choice"}
    assert all(0 <= task["meta"]["score"] <= 1 for task in saved)
    n_seen = len({task["text"] for task in saved})
    assert controller.progress == n_seen / len(TEXTS)
    assert score(tmp_path / "model") > 0.9


def test_the_last_batch_is_on_the_way_until_the_end(make_prodigy, texts):
    stub = make_prodigy()
    controller = stub.run("torch.textcat.teach", "answers", "blank:en", texts, "-l", "POS,NEG")
    annotate(controller, 1)
    assert "answers" not in stub.database.datasets
    annotate(controller, 1)
    assert len(stub.database.datasets["answers"]) == 10
    controller.close()
    assert len(stub.database.datasets["answers"]) == 20


def test_a_second_session_knows_the_answers_and_asks_about_the_rest(make_prodigy, texts, tmp_path):
    stub = make_prodigy()
    arguments = ["answers", "blank:en", texts, "-l", "POS,NEG"]
    controller = stub.run("torch.textcat.teach", *arguments)
    annotate(controller, 5)
    controller.close()
    first = {task["text"] for task in stub.database.datasets["answers"]}
    controller = stub.run("torch.textcat.teach", *arguments, "-o", str(tmp_path / "model"))
    rest = controller.get_questions()
    assert not first & {task["text"] for task in [*rest, *controller.queue]}
    controller.close()
    assert score(tmp_path / "model") > 0.9  # learned from the dataset alone


def test_all_questions_are_asked_and_the_stream_ends(make_prodigy, texts):
    stub = make_prodigy()
    controller = stub.run("torch.textcat.teach", "answers", "blank:en", texts, "-l", "POS,NEG")
    annotate(controller, 100)
    controller.close()
    assert sorted(task["text"] for task in stub.database.datasets["answers"]) == sorted(TEXTS)
    assert controller.progress == 1.0


def test_an_answer_that_cannot_be_used_is_stopped_in_the_app(make_prodigy, texts):
    stub = make_prodigy()
    controller = stub.run("torch.textcat.teach", "answers", "blank:en", texts, "-l", "POS,NEG")
    (task, *_) = controller.get_questions()
    with pytest.raises(ValueError, match="exclude each other: choose one"):
        controller.receive_answers([{**task, "accept": ["POS", "NEG"], "answer": "accept"}])
    controller.close()
    assert stub.database.datasets == {}


def test_other_datasets_are_left_out(make_prodigy, texts):
    stub = make_prodigy()
    arguments = ["blank:en", texts, "-l", "POS,NEG"]
    controller = stub.run("torch.textcat.teach", "first", *arguments)
    annotate(controller, 2)
    controller.close()
    controller = stub.run("torch.textcat.teach", "second", *arguments, "--exclude", "first")
    annotate(controller, 100)
    controller.close()
    texts_of = {name: {t["text"] for t in tasks} for name, tasks in stub.database.datasets.items()}
    assert len(texts_of["first"]) == 20
    assert texts_of["second"] == set(TEXTS) - texts_of["first"]


def test_a_choice_to_correct_has_the_likeliest_label_chosen(make_prodigy, texts):
    stub = make_prodigy()
    arguments = ["answers", "blank:en", texts, "-l", "POS,NEG"]
    controller = stub.run("torch.textcat.correct", *arguments)
    annotate(controller, 4)
    controller.close()
    controller = stub.run("torch.textcat.correct", *arguments)
    tasks = controller.get_questions()
    controller.close()
    right = [task["accept"] == [gold(task["text"])] for task in tasks]
    assert sum(right) >= 0.8 * len(right)
    assert controller.components["config"]["choice_style"] == "single"


# Spans ----------------------------------------------------------------------------------


@pytest.fixture
def make_finder(tmp_path):
    def make(factory, labels):
        architecture = "CRFTagger" if factory == "torch_ner" else "SpanClassifier"
        model = {"@architectures": f"spacy-torch.{architecture}.v1", "encoder": ENCODER}
        nlp = spacy.blank("en")
        component = nlp.add_pipe(factory, name="finder", config={"model": model})
        doc = nlp.make_doc("Ada met Bob")
        component.initialize(lambda: [Example(doc, doc)], nlp=nlp, labels=labels)
        nlp.to_disk(tmp_path / factory)
        return str(tmp_path / factory)

    return make


@pytest.mark.parametrize(
    ("factory", "recipe", "view"),
    [
        ("torch_ner", "torch.ner.teach", "ner"),
        ("torch_ner", "torch.ner.correct", "ner_manual"),
        ("torch_spancat", "torch.spans.teach", "spans"),
        ("torch_spancat", "torch.spans.correct", "spans_manual"),
    ],
)
def test_spans_are_asked_about_in_their_interface(
    make_prodigy, make_finder, texts, factory, recipe, view
):
    stub = make_prodigy()
    controller = stub.run(recipe, "answers", make_finder(factory, ["THING"]), texts)
    annotate(controller, 2, lambda task: {**task, "answer": "accept"})
    controller.close()
    saved = stub.database.datasets["answers"]
    assert {task["_view_id"] for task in saved} == {view}
    assert controller.components["config"]["labels"] == ["THING"]
    for task in saved:
        for span in task["spans"]:
            assert task["text"][span["start"] : span["end"]] == span["text"]


def spots(task):
    return [(task["text"], span["start"], span["end"]) for span in task.get("spans", [])]


@pytest.mark.parametrize(
    ("file", "labels"), [("ner_binary", ["PRODUCT"]), ("ner_manual", ["ORG", "PERSON", "LOCATION"])]
)
def test_what_prodigy_has_saved_is_learned_from_and_not_asked_again(
    make_prodigy, make_finder, texts, file, labels
):
    stub = make_prodigy()
    saved = list(read_tasks(SAVED / f"{file}.jsonl"))
    stub.database.add_examples(saved, ["answers"])
    path = make_finder("torch_ner", labels)
    source = str(SAVED / f"{file}.jsonl")
    recipe = "torch.ner.correct" if file == "ner_manual" else "torch.ner.teach"
    controller = stub.run(recipe, "answers", path, source)
    tasks = [*controller.queue, *controller.get_questions()]
    controller.close()
    # A no to several spans at once does not say to which.
    clear = [
        task for task in saved if len(task.get("spans", [])) == 1 or task["answer"] == "accept"
    ]
    known = {spot for task in clear for spot in spots(task)}
    if file == "ner_manual":
        assert tasks == []
        return
    assert tasks
    assert not known & {spot for task in tasks for spot in spots(task)}


def test_saved_answers_to_yes_or_no_questions_are_learned(make_prodigy, tmp_path):
    stub = make_prodigy()
    saved = list(read_tasks(SAVED / "textcat_binary.jsonl"))
    stub.database.add_examples(saved, ["answers"])
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": False}
    nlp.add_pipe("torch_textcat_multilabel", config={"model": model})
    nlp.config.to_disk(tmp_path / "config.cfg")
    arguments = [str(tmp_path / "config.cfg"), str(SAVED / "textcat_binary.jsonl")]
    arguments += ["-l", "DOCUMENTATION", "-o", str(tmp_path / "model")]
    controller = stub.run("torch.textcat.teach", "answers", *arguments)
    assert controller.get_questions() == []  # nothing is left
    controller.close()
    nlp = spacy.load(tmp_path / "model")
    for task in saved:
        if task["answer"] != "ignore":
            is_yes = nlp(task["text"]).cats["DOCUMENTATION"] > 0.5
            assert is_yes == (task["answer"] == "accept")


# Pictures -------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        pixels = np.full((16, 16, 3), 250 if number % 2 else 5, dtype="uint8")
        pixels[0, number] = 100
        Picture.from_source(pixels).open().save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_text("no picture either")
    return folder


CLASSES = """
[nlp]
lang = "image"
pipeline = ["torch_textcat"]

[nlp.tokenizer]
@tokenizers = "spacy-torch.ImageTokenizer.v1"

[components]

[components.torch_textcat]
factory = "torch_textcat"

[components.torch_textcat.model]
@architectures = "spacy-torch.ImageClassifier.v1"
exclusive_classes = true
size = 16

[components.torch_textcat.model.encoder]
@torch_encoders = "spacy-torch.ImageCNN.v1"
width = 8
depth = 1
"""


def test_pictures_are_shown_as_data_and_saved_as_paths(make_prodigy, images, tmp_path):
    stub = make_prodigy()
    (tmp_path / "classes.cfg").write_text(CLASSES)
    arguments = [str(tmp_path / "classes.cfg"), str(images), "-l", "DARK,LIGHT"]
    controller = stub.run("torch.image.teach", "answers", *arguments)
    assert len(controller.queue) == 12
    for task in controller.queue:
        assert task["image"].startswith("data:image/png;base64,")
        assert Picture.from_source(task["image"]).size == (16, 16)

    def choose(task):
        number = int(Path(task["path"]).stem)
        return {**task, "accept": [("DARK", "LIGHT")[number % 2]], "answer": "accept"}

    annotate(controller, 2, choose)
    controller.close()
    saved = stub.database.datasets["answers"]
    assert {task["image"] for task in saved} == {str(images / f"{n}.png") for n in range(12)}
    controller = stub.run("torch.image.teach", "answers", *arguments)
    assert controller.queue == []
    controller.close()


@pytest.mark.parametrize("recipe", ["torch.image.detect", "torch.image.detect.correct"])
def test_boxes_of_a_picture_are_questions_that_prodigy_tells_apart(
    make_prodigy, images, tmp_path, recipe
):
    stub = make_prodigy()
    nlp = spacy.blank("image")
    nlp.add_pipe("fixed_detector")
    nlp.to_disk(tmp_path / "detector")
    arguments = [recipe, "answers", str(tmp_path / "detector"), str(images)]
    controller = stub.run(*arguments)
    annotate(controller, 10, lambda task: {**task, "answer": "accept"})
    controller.close()
    saved = stub.database.datasets["answers"]
    is_whole = recipe.endswith("correct")
    # Two of the boxes are probable enough; by hand there is one question per picture.
    assert len(saved) == (12 if is_whole else 24)
    assert len({task["_task_hash"] for task in saved}) == len(saved)
    assert len({task["_input_hash"] for task in saved}) == 12
    assert {task["_view_id"] for task in saved} == {"image_manual" if is_whole else "image"}
    assert not any(task["image"].startswith("data:") for task in saved)
    controller = stub.run(*arguments)
    assert controller.queue == []
    controller.close()


# Prodigy's own recipe ----------------------------------------------------------------------


def test_the_loop_of_the_built_in_recipe_drives_our_component(tmp_path):
    # What `textcat.teach` does with a pipeline: scores by label, a sorter, partial categories.
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "torch_textcat_multilabel",
        name="textcat_multilabel",
        config={
            "model": {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": False}
        },
    )
    component = nlp.get_pipe("textcat_multilabel")
    examples = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS]
    component.initialize(lambda: examples, nlp=nlp, labels=["POS", "NEG"])
    optimizer = nlp.resume_training()

    def predict():
        for doc in nlp.pipe(TEXTS, batch_size=16):
            for label, value in doc.cats.items():
                yield value, {"text": doc.text, "label": label, "meta": {"score": value}}

    n_asked = 0
    for task in prodigy_stub.prefer_uncertain(predict()):
        n_asked += 1
        answer = float(task["label"] == gold(task["text"]))
        example = Example.from_dict(nlp.make_doc(task["text"]), {"cats": {task["label"]: answer}})
        nlp.update([example], sgd=optimizer)
    assert 0 < n_asked < 2 * len(TEXTS)
    found = [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(TEXTS)]
    assert sum(a == gold(t) for a, t in zip(found, TEXTS, strict=True)) > 0.7 * len(TEXTS)


def test_without_prodigy_the_file_can_be_read_and_says_what_it_lacks(monkeypatch):
    for name in ("prodigy", "prodigy.components.stream", "prodigy.components.loaders"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("recipes_of_a_test", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ImportError, match="prodigy"):
        module.textcat_teach("answers", "blank:en", "texts.jsonl", label="A,B")
    assert Journal(None).answers == {}
