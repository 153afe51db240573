"""With a real server and a real browser: someone labels, and the model learns it."""

import re
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import spacy
from PIL import Image, ImageDraw
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from spacy.training import Example
from spacy.util import registry

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import find_questions
from spacy_torch.annotation.label_studio import LabelStudioLoop
from spacy_torch.annotation.label_studio_backend import Backend
from spacy_torch.annotation.label_studio_client import Client
from spacy_torch.annotation.label_studio_create import create_project
from spacy_torch.annotation.label_studio_interface import (
    make_interface,
    read_interface,
    write_interface,
)
from spacy_torch.annotation.label_studio_project import Project
from spacy_torch.annotation.label_studio_tasks import (
    make_question,
    read_annotation,
    task_to_import,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.label_studio,
    # Those of the browser's driver.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]

GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
TEXTS = [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in ("film", "soup", "day", "hat")]
FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
ENCODER = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1}
# The middle of a word in an element: where to press.
MIDDLE = """(element, word) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const start = walker.currentNode.data.indexOf(word);
        if (start < 0) continue;
        const range = document.createRange();
        range.setStart(walker.currentNode, start);
        range.setEnd(walker.currentNode, start + word.length);
        const box = range.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }
}"""


def gold(text):
    return "POS" if text.split()[0] in GOOD else "NEG"


def make_textcat():
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe("torch_textcat", config={"model": FAST}, name="textcat")
    example = Example.from_dict(nlp.make_doc("good film"), {"cats": {"POS": 1.0, "NEG": 0.0}})
    textcat.initialize(lambda: [example], nlp=nlp, labels=["NEG", "POS"], pool=TEXTS)
    return nlp


def make_ner():
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
    nlp.add_pipe("torch_ner", config={"model": model})
    doc = nlp.make_doc("Ada met Bob in Oslo")
    ents = {"entities": [(0, 3, "PERSON"), (15, 19, "PLACE")]}
    nlp.initialize(lambda: [Example.from_dict(doc, ents)])
    return nlp


@pytest.fixture
def client(server):
    return Client(server.url, server.token, patience=1200, timeout=300)


def make_project(client, title, interface, tasks):
    number = client.create_project(title, write_interface(interface))
    client.import_tasks(number, [task_to_import(task, interface) for task in tasks])
    return number


def open_loop(client, number, nlp, folder, *, kind, every=3, ahead=6, **settings):
    project = Project(client, number, pictures=folder / "pictures")
    records = project.poll()
    learner = ActiveLearner(
        nlp,
        find_questions(nlp, kind=kind),
        list(project.sources.values()),
        strategy=registry.torch_query_strategies.get("spacy-torch.Margin.v1")(),
        journal=Journal(folder / "answers.jsonl"),
        settings=Settings(**{"epochs": 1, "epsilon": 0.0, **settings}),
    )
    loop = LabelStudioLoop(project, learner, ahead=ahead, every=every)
    loop.step(records)
    return loop


def open_stream(page, server, number):
    """Press "Label All Tasks". An address with `labeling=1` asks in the order of the list."""
    page.goto(f"{server.url}/projects/{number}/data")
    page.get_by_role("button", name="Label All Tasks").first.click()
    page.get_by_test_id("bottombar-submit-button").wait_for()


def answer(page, button="submit"):
    """Press a button below the task, and wait until the server has the answer."""
    with page.expect_response(
        lambda response: "/annotations" in response.url and response.request.method == "POST"
    ) as posted:
        page.get_by_test_id(f"bottombar-{button}-button").click()
    assert posted.value.ok, posted.value.text()


def act_until(act, shown):
    """Act until something is shown: a page that was just drawn may not listen yet."""
    for _ in range(20):
        if shown.count():
            return
        act()
        with suppress(PlaywrightTimeout):
            shown.first.wait_for(timeout=15_000)
    assert shown.count(), f"{shown} was never shown"


def choose_label(page, name):
    """Press a label above the task, for the span or box that is marked next."""
    label = page.locator(".lsf-label_clickable", has_text=name)
    act_until(label.click, page.locator(".lsf-label_selected", has_text=name))


def regions(page, name):
    """What is marked, as the list beside the task has it."""
    return page.locator(".lsf-outliner-item", has_text=name)


def open_scores(loop):
    """The texts that wait for an answer in the project, and how sure the model is of each."""
    version = loop.project.client.project(loop.project.number)["model_version"]
    return {
        record["data"]["text"]: prediction["score"]
        for record in loop.project.client.tasks(loop.project.number)
        for prediction in record["predictions"]
        if prediction["model_version"] == version and not record["annotations"]
    }


def wait_for_text(page, *, after):
    """The text that is shown, as soon as it is another one."""
    found = page.wait_for_function(
        """([texts, after]) => [...document.querySelectorAll('[class*=richtext]')]
            .map(shown => shown.innerText.trim())
            .find(text => texts.includes(text) && text !== after)""",
        arg=[TEXTS, after],
    )
    return found.json_value()


def test_someone_classifies_texts_in_the_order_in_which_the_model_asks(
    server, client, page, shots, tmp_path
):
    number = make_project(
        client,
        "Which mood?",
        make_interface("choices", ["POS", "NEG"]),
        [{"text": text} for text in TEXTS],
    )
    loop = open_loop(client, number, make_textcat(), tmp_path, kind="choice")
    open_stream(page, server, number)
    first = loop.project.client.project(number)["model_version"]
    text = None
    for place in range(9):
        text = wait_for_text(page, after=text)
        # The third answer was followed by new questions, of which the browser hears with the
        # next answer.
        if place in (0, 4):
            scores = open_scores(loop)
            assert scores[text] == min(scores.values())
            page.screenshot(path=shots / f"choices-{place}.png")
        if place == 4:
            answer(page, "skip")
        else:
            # A prediction is shown as if it were the annotator's: press only what is not chosen.
            label = re.compile(f"^{gold(text)}")
            box = page.get_by_role("checkbox", name=label)
            chosen = page.get_by_role("checkbox", name=label, checked=True)
            act_until(partial(box.click, force=True), chosen)
            answer(page)
        loop.step()
    answers = list(loop.learner.journal.answers.values())
    assert [one["answer"] for one in answers].count("ignore") == 1
    given = [one for one in answers if one["answer"] == "accept"]
    assert len(given) == 8
    assert all(one["accept"] == [gold(one["text"])] for one in given)
    assert loop.project.client.project(number)["model_version"] != first
    page.goto(f"{server.url}/projects/{number}/data")
    page.get_by_text("good film").first.wait_for()
    page.screenshot(path=shots / "project.png")


def test_someone_marks_a_name_behind_a_picture_character(server, client, page, shots, tmp_path):
    # Behind a character of two UTF-16 units, where a browser counts otherwise than Python.
    text = "🦁 saw Ada in Oslo"
    interface = make_interface("labels", ["PERSON", "PLACE"])
    number = make_project(client, "Which names?", interface, [{"text": text}])
    loop = open_loop(client, number, make_ner(), tmp_path, kind="manual", epochs=20)
    open_stream(page, server, number)
    name = page.locator("[class*=richtext]").get_by_text("Ada").last

    def mark():
        choose_label(page, "PERSON")
        page.mouse.dblclick(*name.evaluate(MIDDLE, "Ada"))

    act_until(mark, regions(page, "Ada"))
    page.screenshot(path=shots / "spans.png")
    answer(page)
    loop.step()
    (given,) = loop.learner.journal.answers.values()
    marks = [(span["start"], span["end"], span["label"]) for span in given["spans"]]
    assert (text.index("Ada"), text.index("Ada") + 3, "PERSON") in marks


def test_someone_draws_a_box(server, client, page, shots, tmp_path):
    path = tmp_path / "picture.png"
    image = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(image).rectangle((100, 50, 199, 99), fill="red")
    image.save(path)
    interface = make_interface("rectanglelabels", ["CELL"], media="image")
    number = make_project(client, "Which cells?", interface, [{"image": str(path)}])
    project = Project(client, number, pictures=tmp_path / "pictures")
    project.poll()
    open_stream(page, server, number)
    page.locator("canvas").first.wait_for()
    image = page.wait_for_function(
        "() => [...document.images].find(image => image.naturalWidth === 400)"
    )

    def draw():
        choose_label(page, "CELL")
        shown = image.bounding_box()
        left, top, width, height = (shown[side] for side in ("x", "y", "width", "height"))
        page.mouse.move(left + 0.25 * width, top + 0.25 * height)
        page.mouse.down()
        page.mouse.move(left + 0.4 * width, top + 0.4 * height, steps=4)
        page.mouse.move(left + 0.5 * width, top + 0.5 * height, steps=4)
        page.mouse.up()

    act_until(draw, regions(page, "CELL"))
    page.screenshot(path=shots / "boxes.png")
    answer(page)
    (record,) = project.poll()
    (annotation,) = record["annotations"]
    source = project.sources[record["id"]]
    question = make_question(source, interface.labels, view_id="image_manual")
    (span,) = read_annotation(annotation, question, interface)["spans"]
    sides = [span[side] for side in ("x", "y", "width", "height")]
    assert sides == pytest.approx([100, 50, 100, 50], abs=2)
    assert Path(source["image"]).read_bytes() == path.read_bytes()


def choose(client, task, label):
    result = {"from_name": "label", "to_name": "text", "type": "choices"}
    body = {"result": [{**result, "value": {"choices": [label]}}]}
    client._ask("POST", f"api/tasks/{task}/annotations/", body, what="task")


def test_a_server_that_is_killed_loses_nothing_and_gets_nothing_twice(server, client, tmp_path):
    number = make_project(
        client,
        "Which mood, again?",
        make_interface("choices", ["POS", "NEG"]),
        [{"text": text} for text in TEXTS],
    )
    loop = open_loop(client, number, make_textcat(), tmp_path, kind="choice", every=2)
    for _ in range(3):
        task = client.next_task(number)
        choose(client, task["id"], gold(task["data"]["text"]))
    server.stop()
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            server.start()

    client._sleep = wait
    loop.step()
    assert len(waits) >= 2
    assert len(loop.learner.journal) == 3
    again = open_loop(client, number, make_textcat(), tmp_path, kind="choice", every=2)
    assert len(again.learner.journal) == 3
    for record in client.tasks(number):
        versions = [prediction["model_version"] for prediction in record["predictions"]]
        assert len(versions) == len(set(versions))


def test_what_is_changed_or_deleted_there_is_heard_of(client, tmp_path):
    number = make_project(
        client,
        "Second thoughts",
        make_interface("choices", ["POS", "NEG"]),
        [{"text": text} for text in TEXTS],
    )
    loop = open_loop(client, number, make_textcat(), tmp_path, kind="choice", every=100)
    task = client.next_task(number)["id"]
    choose(client, task, "POS")
    assert loop.learn() == 1
    assert loop.learn() == 0
    (record,) = client.tasks(number, only=[task])
    (annotation,) = record["annotations"]
    annotation["result"][0]["value"]["choices"] = ["NEG"]
    body = {"result": annotation["result"]}
    client._ask("PATCH", f"api/annotations/{annotation['id']}/", body, what="annotation")
    assert loop.learn() == 1
    (given,) = loop.learner.journal.answers.values()
    assert given["accept"] == ["NEG"]
    client._ask("DELETE", f"api/annotations/{annotation['id']}/", what="annotation")
    assert loop.learn() == 1
    assert (len(loop.learner.journal), loop.learner.examples) == (0, [])


def test_tasks_that_are_deleted_there_are_not_asked_about_any_more(client, tmp_path):
    number = make_project(
        client,
        "Fewer",
        make_interface("choices", ["POS", "NEG"]),
        [{"text": text} for text in TEXTS],
    )
    loop = open_loop(client, number, make_textcat(), tmp_path, kind="choice", every=2)
    first, second, *others = (record["id"] for record in client.tasks(number))
    for task in others[2:]:
        client._ask("DELETE", f"api/tasks/{task}/", what="task")
    for task in (first, second):
        choose(client, task, "POS")
    assert loop.step()
    assert client.next_task(number)["id"] in others[:2]
    assert len(loop.learner.pool) == 4


def test_a_project_is_made_of_a_pool(client):
    pool = [{"text": f"text {number}"} for number in range(100)]  # a full page
    created = create_project(client, "Made of a pool", pool, ["POS", "NEG"])
    assert created.url == f"{client.url}projects/{created.number}/data"
    settings = client.project(created.number)
    assert settings["sampling"] == "Uncertainty sampling"
    assert read_interface(settings["label_config"]).labels == ("POS", "NEG")
    shown = [record["data"]["text"] for record in client.tasks(created.number)]
    assert sorted(shown) == sorted(task["text"] for task in pool)


def test_a_personal_access_token_is_taken_and_a_wrong_one_refused(server, client):
    number = make_project(client, "Tokens", make_interface("choices", ["A"]), [{"text": "a"}])
    personal = client._ask("POST", "api/token/", {}, what="token")["token"]
    assert Client(server.url, personal).project(number)["title"] == "Tokens"
    for wrong in ("0" * 40, f"{personal[:-4]}AAAA"):
        with pytest.raises(PermissionError, match="refuses the token"):
            Client(server.url, wrong).project(number)


def test_the_server_asks_the_backend_and_tells_it_what_was_labelled(server, client, tmp_path):
    number = make_project(
        client,
        "With a backend",
        make_interface("choices", ["POS", "NEG"]),
        [{"text": text} for text in TEXTS],
    )
    loop = open_loop(client, number, make_textcat(), tmp_path, kind="choice")
    backend = Backend(loop, port=0)
    try:
        settings = {"project": number, "url": backend.url, "title": "textcat"}
        model = client._ask("POST", "api/ml/", settings, what="backend")
        assert model["state"] == "CO"  # connected
        task = client.next_task(number)
        choose(client, task["id"], gold(task["data"]["text"]))
        deadline = time.monotonic() + 300
        while len(loop.learner.journal) == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(loop.learner.journal) == 1  # nobody but the server said so
        path = f"api/ml/{model['id']}/predict/test?random=true"
        test = client._ask("POST", path, {}, what="backend")
        (found,) = test["response"]
        assert found["model_version"] == "textcat-1"
        assert found["result"][0]["type"] == "choices"
    finally:
        backend.close()
