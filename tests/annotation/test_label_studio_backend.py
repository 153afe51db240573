"""What Label Studio asks a backend, and what a web page must not be able to."""

import json
import urllib.error
import urllib.request

import pytest
import spacy
from fake_label_studio import TOKEN, FakeLabelStudio
from spacy.training import Example
from spacy.util import registry

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.label_studio import LabelStudioLoop
from spacy_torch.annotation.label_studio_backend import Backend
from spacy_torch.annotation.label_studio_client import Client
from spacy_torch.annotation.label_studio_interface import make_interface, write_interface
from spacy_torch.annotation.label_studio_project import Project
from spacy_torch.annotation.questions import ChoiceQuestions

CONFIG = write_interface(make_interface("choices", ["POS", "NEG"]))
MODEL = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 8}


@pytest.fixture
def fake():
    with FakeLabelStudio(CONFIG) as server:
        server.add("good film", "bad film", "good soup")
        yield server


@pytest.fixture
def backend(fake, tmp_path):
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe("torch_textcat", config={"model": MODEL}, name="textcat")
    example = Example.from_dict(nlp.make_doc("good"), {"cats": {"POS": 1.0, "NEG": 0.0}})
    texts = [task["data"]["text"] for task in fake.tasks.values()]
    textcat.initialize(lambda: [example], nlp=nlp, labels=["NEG", "POS"], pool=texts)
    project = Project(Client(fake.url, TOKEN), 1, pictures=tmp_path)
    project.poll()
    learner = ActiveLearner(
        nlp,
        ChoiceQuestions(nlp, "textcat"),
        list(project.sources.values()),
        strategy=registry.torch_query_strategies.get("spacy-torch.Margin.v1")(),
        settings=Settings(epochs=1),
    )
    server = Backend(LabelStudioLoop(project, learner), port=0)
    yield server
    server.close()


def ask(backend, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(backend.url + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_it_says_that_it_is_there_and_what_version_it_has(backend):
    assert ask(backend, "/health") == (200, {"status": "UP"})
    body = {"project": "1.5", "schema": CONFIG, "hostname": "x", "access_token": TOKEN}
    assert ask(backend, "/setup", body) == (200, {"model_version": "textcat-0"})


def test_it_predicts_in_the_order_of_the_tasks(backend, fake):
    # Number 4 was imported since, 99 has nothing to show, and 1 is known.
    tasks = [{"id": 4, "data": {"text": "bad soup"}}, {"id": 99, "data": {}}, {"id": 1}]
    status, answer = ask(backend, "/predict", {"tasks": tasks})
    assert status == 200
    new, unknown, first = answer["results"]
    cats = backend.loop.learner.nlp("bad soup").cats
    assert new["score"] == pytest.approx(max(cats.values()))
    assert new["result"][0]["value"]["choices"] == [max(cats, key=cats.get)]
    assert unknown == {"result": [], "score": 1.0, "model_version": "textcat-0"}
    assert first["model_version"] == "textcat-0"
    assert 4 not in backend.loop.project.sources  # anyone could have sent it


def test_it_learns_what_the_server_has_when_it_is_told_of_it(backend, fake):
    result = {"from_name": "label", "type": "choices", "value": {"choices": ["POS"]}}
    fake.annotate(1, result)
    assert ask(backend, "/webhook", {"action": "PROJECT_UPDATED"})[0] == 200
    assert len(backend.loop.learner.journal) == 0
    # Not what the request says, which anyone could have sent.
    forged = {"action": "ANNOTATION_CREATED", "task": {"id": 2}, "annotation": {"result": [result]}}
    assert ask(backend, "/webhook", forged)[0] == 200
    (answer,) = backend.loop.learner.journal.answers.values()
    assert (answer["text"], answer["accept"]) == ("good film", ["POS"])
    assert ask(backend, "/setup", {})[1] == {"model_version": "textcat-1"}


def test_a_server_that_is_gone_is_said_and_the_backend_goes_on(backend, fake):
    backend.loop.project.client.patience = 0.0
    fake.failures = [("GET", 503)] * 2
    status, answer = ask(backend, "/webhook", {"action": "ANNOTATION_CREATED"})
    assert (status, "did not answer for 0 s" in answer["detail"]) == (400, True)
    assert ask(backend, "/health")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/other", None, {}, 404),
        ("/other", {}, {}, 404),
        ("/predict", [], {}, 400),
        ("/predict", {"tasks": [{}]}, {}, 400),
        # What a page in a browser can send without asking first.
        ("/webhook", {"action": "ANNOTATION_CREATED"}, {"Content-Type": "text/plain"}, 400),
        ("/webhook", {"action": "ANNOTATION_CREATED"}, {"Origin": "https://example.org"}, 400),
    ],
)
def test_what_it_does_not_understand_or_trust_is_refused(backend, path, body, headers, status):
    assert ask(backend, path, body, **headers)[0] == status


def test_it_listens_to_this_computer_only_unless_told_otherwise(backend):
    assert backend.url.startswith("http://127.0.0.1:")
