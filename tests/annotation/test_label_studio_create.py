"""A project is made of a pool, with every task once."""

import json

import pytest
from fake_label_studio import TOKEN, FakeLabelStudio
from images import write_image
from spacy.cli import app
from spacy.util import registry
from typer.testing import CliRunner

from spacy_torch.annotation.label_studio_client import Client
from spacy_torch.annotation.label_studio_create import create_project, find_media
from spacy_torch.annotation.label_studio_interface import read_interface

TEXTS = [{"text": f"text {number}"} for number in range(250)]


@pytest.fixture
def fake():
    with FakeLabelStudio("<View/>") as server:
        yield server


def make_client(fake):
    return Client(fake.url, TOKEN, patience=5, sleep=lambda seconds: None)


@pytest.mark.parametrize(
    ("asked", "many", "kind"),
    [("choices", False, "choices"), ("choices", True, "choices"), ("spans", False, "labels")],
)
def test_the_interface_asks_what_is_wanted_and_every_text_is_there_once(fake, asked, many, kind):
    pool = [*TEXTS, TEXTS[0]]
    created = create_project(
        make_client(fake), "Cards", pool, ["CARD", "CASH"], asked=asked, many=many
    )
    assert created == (1, f"{fake.url}/projects/1/data", 250)
    interface = read_interface(fake.project["label_config"])
    assert (interface.kind, interface.media, interface.many) == (kind, "text", many)
    assert interface.labels == ("CARD", "CASH")
    assert fake.project["sampling"] == "Uncertainty sampling"
    assert [task["data"]["text"] for task in fake.tasks.values()] == [one["text"] for one in TEXTS]


def test_pictures_go_along(fake, tmp_path):
    write_image(tmp_path / "a.png")
    pool = [{"image": str(tmp_path / "a.png")}]
    create_project(make_client(fake), "Cells", pool, ["CELL"], asked="boxes")
    interface = read_interface(fake.project["label_config"])
    assert (interface.kind, interface.media) == ("rectanglelabels", "image")
    assert fake.tasks[1]["data"]["image"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("failure", ["before", "after"])
def test_a_server_that_goes_away_gets_every_task_once(fake, failure):
    client = make_client(fake)
    answer = fake._answer

    def lose_second(request, body):
        path = request.path.partition("?")[0]
        n_sent = fake.requests.count(("POST", "/api/projects/1/import"))
        if path == "/api/projects/1/import" and n_sent == 1:
            fake.failures = [("POST", failure)]
        return answer(request, body)

    fake._answer = lose_second
    assert create_project(client, "Cards", TEXTS, ["A", "B"]).n_tasks == 250
    shown = [task["data"]["text"] for task in fake.tasks.values()]
    assert sorted(shown) == sorted(one["text"] for one in TEXTS)


def test_a_server_that_goes_away_each_time_is_given_up(fake):
    fake.failures = [("POST", None), *[("POST", "before")] * 5]
    with pytest.raises(ConnectionError, match="went away each of 5 times.* project 1, which has 0"):
        create_project(make_client(fake), "Cards", TEXTS, ["A", "B"])


@pytest.mark.parametrize(
    ("pool", "arguments", "message"),
    [
        ([], {}, "the pool has 0 texts and 0 pictures"),
        ([{"text": "a"}, {"image": "b.png"}], {}, "1 texts and 1 pictures: make a project for"),
        (TEXTS, {"asked": "boxes"}, "rectanglelabels must be about image, got 'text'"),
        (TEXTS, {"asked": "stars"}, r"one of \['choices', 'spans', 'boxes'\], got 'stars'"),
    ],
)
def test_what_makes_no_project_is_refused_before_anything_is_sent(fake, pool, arguments, message):
    with pytest.raises(ValueError, match=message):
        create_project(make_client(fake), "Cards", pool, ["A", "B"], **arguments)
    assert fake.requests == []


def test_the_command_prints_the_address(fake, tmp_path, monkeypatch):
    path = tmp_path / "pool.jsonl"
    path.write_text("\n".join(json.dumps(task) for task in TEXTS[:3]))
    assert find_media(TEXTS[:3]) == "text"
    command = ["torch-label-studio-project", fake.url, "Cards", str(path), "--label", "A,B"]
    registry.cli.get("torch-label-studio-project")  # as python -m spacy does
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", TOKEN)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    said = "".join(result.output.split())
    assert f"Project1with3tasks:{fake.url}/projects/1/data" in said
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "wrong")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "refuses the token" in result.output
