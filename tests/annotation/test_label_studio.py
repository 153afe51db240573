"""People label, the model learns, and the project shows what it wants to know next."""

import base64
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import spacy
from fake_label_studio import TOKEN, FakeLabelStudio
from images import write_image
from spacy.cli import app
from spacy.training import Example
from spacy.util import registry
from typer.testing import CliRunner

from spacy_torch.annotation import label_studio_project
from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.choosing import RANDOM
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.label_studio import (
    LabelStudioLoop,
    check_interface,
    confidence,
)
from spacy_torch.annotation.label_studio_client import Client
from spacy_torch.annotation.label_studio_interface import make_interface, write_interface
from spacy_torch.annotation.label_studio_project import Prediction, Project
from spacy_torch.annotation.label_studio_session import find_blank, run_label_studio
from spacy_torch.annotation.one_session import hold_dataset
from spacy_torch.annotation.pipelines import BLANK
from spacy_torch.annotation.questions import ChoiceQuestions, Question
from spacy_torch.annotation.span_questions import ManualSpanQuestions

FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
TEXTS = [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in ("film", "soup", "day", "hat")]
CONFIG = write_interface(make_interface("choices", ["POS", "NEG"]))


def gold(text):
    return "POS" if text.split()[0] in GOOD else "NEG"


def make_nlp(labels=("NEG", "POS"), *, many=False):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {**FAST, "exclusive_classes": not many}
    factory = "torch_textcat_multilabel" if many else "torch_textcat"
    textcat = nlp.add_pipe(factory, config={"model": model}, name="textcat")
    cats = {label: float(label == labels[0]) for label in labels}
    example = Example.from_dict(nlp.make_doc("good film"), {"cats": cats})
    textcat.initialize(lambda: [example], nlp=nlp, labels=list(labels), pool=TEXTS)
    return nlp


def make_ner():
    nlp = spacy.blank("en")
    encoder = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1}
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": encoder}
    nlp.add_pipe("torch_ner", config={"model": model})
    doc = nlp.make_doc("Ada met Bob in Oslo")
    ents = {"entities": [(0, 3, "PERSON"), (15, 19, "PLACE")]}
    nlp.initialize(lambda: [Example.from_dict(doc, ents)])
    return nlp


def margin():
    return registry.torch_query_strategies.get("spacy-torch.Margin.v1")()


@pytest.fixture
def fake():
    with FakeLabelStudio(CONFIG) as server:
        server.add(*TEXTS)
        yield server


@pytest.fixture
def start(fake, tmp_path):
    """Start a session, or start it again."""

    def start_loop(nlp=None, *, every=4, ahead=8, **settings):
        client = Client(fake.url, TOKEN, sleep=lambda seconds: None, timeout=5)
        project = Project(client, 1, pictures=tmp_path / "pictures")
        records = project.poll()
        nlp = nlp or make_nlp()
        learner = ActiveLearner(
            nlp,
            ChoiceQuestions(nlp, "textcat"),
            list(project.sources.values()),
            strategy=margin(),
            journal=Journal(tmp_path / "answers.jsonl"),
            settings=Settings(**{"epochs": 1, **settings}),
        )
        loop = LabelStudioLoop(project, learner, ahead=ahead, every=every)
        loop.step(records)
        return loop

    return start_loop


def choose(*labels):
    return {"from_name": "label", "type": "choices", "value": {"choices": list(labels)}}


def label_next(fake):
    number = fake.next_task()
    fake.annotate(number, choose(gold(fake.tasks[number]["data"]["text"])))
    return number


def written(tmp_path):
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf8").splitlines()
    return [record for record in map(json.loads, lines) if "answer" in record]


def times_predicted(fake):
    found = [(one["task"], one["model_version"]) for one in fake.predictions]
    return {key: found.count(key) for key in found}


def test_people_label_and_the_model_learns_until_nothing_is_left(fake, start, tmp_path):
    loop = start()
    n_labelled = 0
    while fake.next_task() is not None:
        label_next(fake)
        n_labelled += 1
        loop.step()
    assert n_labelled == len(TEXTS) == len(written(tmp_path))
    assert loop.step() is False
    assert set(times_predicted(fake).values()) == {1}
    docs = list(loop.learner.nlp.pipe(TEXTS))
    assert all(max(doc.cats, key=doc.cats.get) == gold(doc.text) for doc in docs)


def test_the_project_asks_by_uncertainty_and_first_what_the_model_is_least_sure_of(fake, start):
    loop = start(epsilon=0.0, every=1)
    label_next(fake)
    loop.step()
    while loop.learner.questions.component.is_guessing():  # it asks at random until then
        label_next(fake)
        loop.step()
    assert fake.project["sampling"] == "Uncertainty sampling"
    now = [one for one in fake.predictions if one["model_version"] == fake.project["model_version"]]
    assert len(now) == 8
    for one in now:
        cats = loop.learner.nlp(fake.tasks[one["task"]]["data"]["text"]).cats
        assert one["score"] == pytest.approx(max(cats.values()))
        assert one["result"][0]["value"]["choices"] == [max(cats, key=cats.get)]
    assert fake.next_task() == min(now, key=lambda one: one["score"])["task"]


def test_questions_are_chosen_anew_after_every_few_answers(fake, start):
    loop = start(every=3)
    first = fake.project["model_version"]
    for n_labelled in range(1, 4):
        label_next(fake)
        loop.step()
        assert (fake.project["model_version"] == first) == (n_labelled < 3)
    assert fake.project["model_version"].startswith("textcat-3-")


def test_whether_a_random_question_is_answered_does_not_depend_on_the_model(fake, start):
    loop = start(epsilon=1.0)
    assert all(task[RANDOM] for task in loop.learner.journal.pending.values())
    for _ in range(4):
        label_next(fake)
    loop.step()
    assert loop.learner.progress().n_random == 4
    version = fake.project["model_version"]
    now = [one for one in fake.predictions if one["model_version"] == version]
    sure = [
        max(loop.learner.nlp(fake.tasks[one["task"]]["data"]["text"]).cats.values()) for one in now
    ]
    # Drawn from those of all questions: some come twice, in another order.
    scores = [one["score"] for one in now]
    assert scores != pytest.approx(sure)
    assert all(np.isclose(sure, score).any() for score in scores)


def test_skipped_tasks_are_ignored_and_not_asked_again(fake, start, tmp_path):
    loop = start(epsilon=0.0)
    before = [doc.cats for doc in loop.learner.nlp.pipe(TEXTS)]
    skipped = []
    for _ in range(4):
        skipped.append(fake.next_task())
        fake.annotate(skipped[-1], was_cancelled=True)
        loop.step()
    assert [record["answer"] for record in written(tmp_path)] == ["ignore"] * 4
    assert [doc.cats for doc in loop.learner.nlp.pipe(TEXTS)] == before
    version = fake.project["model_version"]
    now = {one["task"] for one in fake.predictions if one["model_version"] == version}
    assert not now & set(skipped)


def test_an_annotation_is_read_once_and_again_when_it_was_changed(fake, start, tmp_path):
    loop = start()
    number = label_next(fake)
    for _ in range(3):
        loop.step()
    assert len(written(tmp_path)) == 1
    (annotation,) = fake.tasks[number]["annotations"]
    other = "NEG" if annotation["result"][0]["value"]["choices"] == ["POS"] else "POS"
    fake.change(number, [{**annotation, "result": [choose(other)]}])
    loop.step()
    assert [record["accept"] for record in written(tmp_path)][1:] == [[other]]
    assert len(loop.learner.journal) == 1


def test_an_answer_that_was_deleted_there_was_never_given(fake, start, tmp_path):
    loop = start(every=1)
    before = [doc.cats for doc in loop.learner.nlp.pipe(TEXTS)]
    number = label_next(fake)
    loop.step()
    assert [doc.cats for doc in loop.learner.nlp.pipe(TEXTS)] != before
    annotations = fake.tasks[number]["annotations"]
    fake.change(number, [])
    assert loop.learn() == 1
    assert loop.learn() == 0
    assert (loop.learner.examples, len(loop.learner.journal)) == ([], 0)
    assert [doc.cats for doc in loop.learner.nlp.pipe(TEXTS)] == before
    assert len(Journal(tmp_path / "answers.jsonl")) == 0
    # It is as open as it was, and may be answered again.
    asked = loop.learner.ask(len(TEXTS))
    assert fake.tasks[number]["data"]["text"] in {task["text"] for task in asked}
    fake.change(number, annotations)
    assert loop.learn() == 1
    assert len(loop.learner.journal) == 1


def test_what_was_deleted_while_nobody_listened_is_taken_back_at_the_start(fake, start, tmp_path):
    loop = start()
    number = label_next(fake)
    loop.step()
    fake.change(number, [])
    again = start()
    assert len(again.learner.journal) == 0
    assert len(Journal(tmp_path / "answers.jsonl")) == 0


def test_tasks_that_were_deleted_are_not_asked_about_any_more(fake, start):
    loop = start(every=2)
    numbers = [label_next(fake), label_next(fake)]
    left = [*numbers, *[number for number in fake.tasks if number not in numbers][:3]]
    fake.tasks = {number: fake.tasks[number] for number in left}
    fake.predictions = [one for one in fake.predictions if one["task"] in left]
    assert loop.step()
    assert fake.next_task() in left[2:]
    assert len(loop.learner.pool) == 5
    assert len(loop.learner.journal) == 2
    del fake.tasks[left[2]]  # and while nobody listens
    fake.predictions = [one for one in fake.predictions if one["task"] in fake.tasks]
    again = start(every=2)
    for _ in range(2):
        label_next(fake)
        again.step()
    assert again.step() is False
    assert len(again.learner.journal) == 4


def test_a_task_that_is_deleted_while_predictions_are_sent_is_left_out(fake, start, monkeypatch):
    loop = start(every=1)
    send, gone = loop.project.client.import_predictions, []

    def delete_before(project, predictions):
        if not gone:
            gone.append(predictions[0]["task"])
            del fake.tasks[gone[0]]
            fake.predictions = [one for one in fake.predictions if one["task"] != gone[0]]
        send(project, predictions)

    monkeypatch.setattr(loop.project.client, "import_predictions", delete_before)
    label_next(fake)
    assert loop.step()
    assert gone[0] not in {one["task"] for one in fake.predictions}
    assert len(loop.learner.pool) == len(TEXTS) - 1


def test_an_answer_that_appears_after_a_later_one_is_heard_of(fake, start):
    loop = start()
    slow, fast = label_next(fake), label_next(fake)
    annotation = fake.tasks[slow]["annotations"].pop()  # begun before the other, not there yet
    assert loop.learn() == 1
    fake.tasks[slow]["annotations"].append(annotation)
    assert fake.tasks[slow]["updated_at"] < fake.tasks[fast]["updated_at"]
    assert loop.learn() == 1


def test_what_is_old_is_not_fetched_again_and_again(fake, tmp_path, monkeypatch):
    clock = iter([0.0, 30.0, 100.0, 200.0])
    monkeypatch.setattr(label_studio_project, "time", SimpleNamespace(monotonic=clock.__next__))
    project = Project(Client(fake.url, TOKEN), 1, pictures=tmp_path)
    assert len(project.poll()) == len(TEXTS)
    fake.annotate(3, choose("POS"))
    fake.annotate(4, choose("POS"))
    found = [[record["id"] for record in project.poll()] for _ in range(3)]
    last = len(TEXTS)
    assert found == [[3, 4, last], [4], [4]]


def test_a_task_that_shows_the_same_does_not_delete_the_answer(fake, start):
    loop = start()
    fake.add(TEXTS[0])
    loop.step()
    fake.annotate(1, choose("POS"))
    loop.step()
    fake.change(len(fake.tasks), [])  # the other task was changed, and has no annotation
    loop.step()
    assert [task["accept"] for task in loop.learner.journal.answers.values()] == [["POS"]]


def test_of_several_annotations_the_ground_truth_counts_or_else_the_latest(fake, start, tmp_path):
    loop = start(every=100)
    fake.annotate(1, choose("POS"))
    fake.annotate(1, choose("NEG"))
    fake.annotate(1, was_cancelled=True)
    loop.step()
    assert written(tmp_path)[-1]["accept"] == ["NEG"]
    first, *others = fake.tasks[1]["annotations"]
    fake.change(1, [{**first, "ground_truth": True}, *others])
    loop.step()
    assert written(tmp_path)[-1]["accept"] == ["POS"]


def test_tasks_that_nobody_asked_for_and_tasks_that_come_later_are_learned_too(fake, start):
    loop = start()
    fake.annotate(next(n for n in fake.tasks if n != fake.next_task()), choose("POS"))
    fake.add("lovely cake")
    fake.annotate(len(fake.tasks), choose("POS"))
    loop.step()
    assert len(loop.learner.journal) == 2
    assert loop.learner.progress().n_left == len(TEXTS) - 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([choose("ODD")], "the label 'ODD', which 'textcat' does not have"),
        ([choose("POS", "NEG")], "exclude each other"),
        ("broken", "'result' must be a list"),
    ],
)
def test_an_annotation_that_cannot_be_learned_is_said_once_and_the_rest_goes_on(
    fake, start, result, message, caplog
):
    loop = start(every=100)
    fake.annotate(3, choose("POS"))
    fake.change(3, [{**fake.tasks[3]["annotations"][0], "result": result}])
    fake.annotate(4, choose("POS"))
    for _ in range(3):
        loop.step()
    assert len(loop.learner.journal) == 1
    assert message in loop.refused[1]
    assert caplog.text.count("task 3: an annotation is left out") == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("failure", ["before", "after", 502, 503])
def test_a_server_that_goes_away_loses_nothing_and_gets_nothing_twice(
    fake, start, tmp_path, method, failure
):
    loop = start()
    n_labelled = 0
    while fake.next_task() is not None and n_labelled < 12:
        label_next(fake)
        n_labelled += 1
        fake.failures = [(method, failure)] * 2
        loop.step()
    assert len(written(tmp_path)) == n_labelled
    assert set(times_predicted(fake).values()) == {1}
    assert fake.failures != [(method, failure)] * 2  # it did fail


def test_a_server_may_be_away_for_a_while(fake, start, tmp_path):
    loop = start()
    label_next(fake)
    port = fake.port
    fake.stop()
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            fake.start(port)

    loop.project.client._sleep = wait
    loop.step()
    assert len(waits) == 3
    assert len(written(tmp_path)) == 1


def test_a_server_that_fails_at_predictions_each_time_is_an_error(fake, start):
    loop = start(every=1)
    fake.failures = [("POST", "before")] * 9
    label_next(fake)
    with pytest.raises(ConnectionError, match="went away each of 5 times .* 8 tasks; no answer"):
        loop.step()
    assert len(loop.learner.journal) == 1


@pytest.mark.parametrize("n_labelled", [0, 2, 5])
def test_after_a_restart_it_goes_on_and_sends_nothing_twice(fake, start, tmp_path, n_labelled):
    loop = start()
    for _ in range(n_labelled):
        label_next(fake)
        loop.step()
    before, n_predictions = fake.project["model_version"], len(fake.predictions)
    again = start()
    assert len(written(tmp_path)) == n_labelled
    assert len(again.learner.journal) == n_labelled
    assert again._queue == loop._queue  # the same questions are open
    assert set(times_predicted(fake).values()) == {1}
    if n_labelled == 0:
        assert (fake.project["model_version"], len(fake.predictions)) == (before, n_predictions)


def test_killed_between_predictions_and_their_version_it_sends_only_what_is_missing(fake, start):
    loop = start(every=1)
    label_next(fake)
    fake.failures = [("PATCH", 400)]
    with pytest.raises(ValueError, match="400"):
        loop.step()
    n_predictions = len(fake.predictions)
    start(every=1)
    assert len(fake.predictions) == n_predictions
    assert fake.project["model_version"].startswith("textcat-1-")


def test_several_labels_may_apply_to_a_text(fake, start):
    interface = make_interface("choices", ["LONG", "NICE"], many=True)
    fake.project["label_config"] = write_interface(interface)
    loop = start(make_nlp(["NICE", "LONG"], many=True), every=2)
    fake.annotate(1, choose("NICE", "LONG"))
    fake.annotate(2)  # none of them
    loop.step()
    learned = {eg.text: eg.reference.cats for eg in loop.learner._examples.values()}
    assert learned == {
        TEXTS[0]: {"NICE": 1.0, "LONG": 1.0},
        TEXTS[1]: {"NICE": 0.0, "LONG": 0.0},
    }
    for one in fake.predictions:
        choices = one["result"][0]["value"]["choices"] if one["result"] else []
        assert set(choices) <= {"NICE", "LONG"}
        assert 0.5 <= one["score"] <= 1


def test_spans_go_there_as_predictions_and_come_back_as_entities(fake, tmp_path):
    interface = make_interface("labels", ["PERSON", "PLACE"])
    fake.project["label_config"] = write_interface(interface)
    fake.tasks.clear()
    fake.add("Ada saw Oslo", "Bob left")
    nlp = make_ner()
    nlp.to_disk(tmp_path / "untrained")
    told = []

    def tell(progress):
        told.append(progress.n_answers)
        if progress.n_answers == 0:
            values = [(0, 3, "PERSON"), (8, 12, "PLACE")]
            fake.annotate(
                1,
                *(
                    {
                        "from_name": "label",
                        "type": "labels",
                        "value": {"start": start, "end": end, "labels": [label]},
                    }
                    for start, end, label in values
                ),
            )
            fake.annotate(2, was_cancelled=True)

    learner = run_label_studio(
        tmp_path / "untrained",
        fake.url,
        1,
        token=TOKEN,
        dataset=tmp_path / "answers.jsonl",
        settings=Settings(epochs=30, minibatch=4),
        background=False,
        poll=0.0,
        tell=tell,
    )
    progress = learner.progress()
    assert (progress.n_answers, progress.n_left, told) == (2, 0, [0, 2])
    nlp = spacy.load(tmp_path / "answers.model")
    found = [(ent.text, ent.label_) for ent in nlp("Ada saw Oslo").ents]
    assert found == [("Ada", "PERSON"), ("Oslo", "PLACE")]
    assert {result["type"] for one in fake.predictions for result in one["result"]} <= {"labels"}


def test_a_session_begins_with_a_new_pipeline_and_goes_on_with_the_one_it_has_saved(
    fake, tmp_path, monkeypatch
):
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", TOKEN)
    stop = threading.Event()

    def tell(progress):
        if progress.n_answers == 4:
            stop.set()
        else:
            label_next(fake)

    arguments = {"dataset": tmp_path / "answers.jsonl", "background": False, "poll": 0.0}
    learner = run_label_studio("blank:en", fake.url, 1, **arguments, stop=stop, tell=tell)
    assert len(learner.journal) == len(written(tmp_path)) == 4
    assert set(learner.questions.component.labels) == {"POS", "NEG"}
    cats = [doc.cats for doc in learner.nlp.pipe(TEXTS)]
    saved = [doc.cats for doc in spacy.load(tmp_path / "answers.model").pipe(TEXTS)]
    assert saved == cats
    again = run_label_studio("no such pipeline", fake.url, 1, **arguments, stop=stop, save_every=1)
    assert len(again.journal) == 4
    assert [doc.cats for doc in again.nlp.pipe(TEXTS)] == cats


def test_answers_that_another_tool_has_saved_count(fake, start, tmp_path):
    options = [{"id": label, "text": label} for label in ("NEG", "POS")]
    task = {"text": TEXTS[0], "options": options, "accept": ["POS"], "answer": "accept"}
    hashes = {"_input_hash": 7, "_task_hash": 8}
    (tmp_path / "answers.jsonl").write_text(json.dumps({**task, **hashes}) + "\n")
    loop = start(ahead=100)
    assert loop.learner.progress().n_answers == 1
    assert 1 not in {one["task"] for one in fake.predictions}
    fake.annotate(2, choose("POS"))
    loop.step()
    assert len(written(tmp_path)) == 2


def test_a_session_needs_tasks(fake, tmp_path):
    fake.tasks.clear()
    with pytest.raises(ValueError, match="project 1 .* has no tasks that can be used"):
        run_label_studio("blank:en", fake.url, 1, token=TOKEN, dataset=tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_second_session_on_a_dataset_is_refused(fake, tmp_path):
    dataset = tmp_path / "a.jsonl"
    with hold_dataset(dataset), pytest.raises(RuntimeError, match="another session is writing"):
        run_label_studio("blank:en", fake.url, 1, token=TOKEN, dataset=dataset)


@pytest.mark.parametrize(
    ("interface", "factory"),
    [
        (make_interface("choices", ["A", "B"]), "torch_textcat"),
        (make_interface("choices", ["A", "B"], many=True), "torch_textcat_multilabel"),
        (make_interface("labels", ["A"]), "torch_ner"),
        (make_interface("choices", ["A", "B"], media="image"), "torch_image_classifier"),
        (
            make_interface("choices", ["A", "B"], media="image", many=True),
            "torch_image_classifier_multilabel",
        ),
        (make_interface("rectanglelabels", ["A"], media="image"), "torch_object_detector"),
    ],
)
def test_a_new_pipeline_has_what_suits_the_labelling_config(interface, factory):
    name, _ = BLANK[find_blank(interface)]
    assert name == factory


def test_pictures_are_fetched_once_and_kept_beside_the_answers(fake, tmp_path, caplog):
    interface = make_interface("choices", ["A", "B"], media="image")
    fake.project["label_config"] = write_interface(interface)
    fake.tasks.clear()
    write_image(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    fake.files["/data/upload/1/a.png"] = (200, content)
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    addresses = ("/data/upload/1/a.png", uri, "https://example.org/a.png", "/data/gone.png")
    fake.add(*addresses, key="image")
    fake.add("a.png", key="picture")
    client = Client(fake.url, TOKEN)
    for _ in range(2):
        project = Project(client, 1, pictures=tmp_path / "pictures")
        project.poll()
        assert list(project.sources) == [1, 2]
        for source in project.sources.values():
            path = tmp_path / "pictures" / source["image"].rpartition("/")[2]
            assert path.suffix == ".png"
            assert path.read_bytes() == content
    assert fake.requests.count(("GET", "/data/upload/1/a.png")) == 1
    for number, reason in ((3, "another server"), (4, "has no the file"), (5, "has no text")):
        assert f"task {number} of project 1 is left out" in caplog.text
        assert reason in caplog.text


def test_of_the_same_text_twice_the_first_task_gets_the_prediction(fake, start):
    fake.add(TEXTS[0])
    loop = start(ahead=100)
    assert len(loop.learner.pool) == len(TEXTS)
    assert sorted(one["task"] for one in fake.predictions) == list(range(1, len(TEXTS) + 1))


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (make_interface("choices", ["POS", "ODD"]), "they must be the same; change"),
        (make_interface("choices", ["POS"]), "they must be the same"),
        (make_interface("choices", ["POS", "NEG"], many=True), "allows several choices"),
        (make_interface("labels", ["POS", "NEG"]), "asks for labels, which 'textcat' does not"),
    ],
)
def test_an_interface_that_asks_something_else_is_refused(interface, message):
    with pytest.raises(ValueError, match=message):
        check_interface(interface, ChoiceQuestions(make_nlp(), "textcat"))


def test_a_project_may_be_about_some_of_the_labels_of_spans():
    questions = ManualSpanQuestions(make_ner(), "torch_ner")
    check_interface(make_interface("labels", ["PERSON"]), questions)
    with pytest.raises(ValueError, match="they must be the same"):
        check_interface(make_interface("labels", ["ORG"]), questions)


def test_confidence_is_that_of_the_least_sure_decision():
    def question(*probabilities):
        return Question({}, 0, np.array(probabilities), "A")

    assert confidence(question(0.2, 0.7, 0.1), one_of=True) == 0.7
    # Yes or no to each label: 0.9, 0.6 and 0.8 sure.
    assert confidence(question(0.1, 0.6, 0.8), one_of=False) == 0.6


def test_predictions_of_no_task_change_the_version_only(fake, tmp_path):
    project = Project(Client(fake.url, TOKEN), 1, pictures=tmp_path)
    project.send([Prediction(1, [], 0.5)], version="a")
    project.send([], version="a")
    assert fake.project["model_version"] == "a"
    assert len(fake.predictions) == 1


def test_the_command_says_how_it_went(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "wrong")
    dataset = tmp_path / "answers.jsonl"
    command = ["torch-label-studio", "blank:en", fake.url, "1", "--dataset", str(dataset)]
    registry.cli.get("torch-label-studio")  # as python -m spacy does
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.output
    assert "refuses the token" in result.output
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", TOKEN)
    for number, task in fake.tasks.items():
        fake.annotate(number, choose(gold(task["data"]["text"])))
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "32 answers; 0 tasks left" in result.output
    assert "Nothing left to ask" in result.output
    assert TOKEN not in result.output + dataset.read_text()
