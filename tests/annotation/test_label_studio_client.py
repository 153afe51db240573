"""A server that is slow, gone, someone else's or unwilling; and a token that nobody sees."""

import itertools
import logging
import socket
from types import SimpleNamespace

import pytest
from fake_label_studio import REFRESH, TOKEN, FakeLabelStudio

from spacy_torch.annotation import label_studio_client
from spacy_torch.annotation.label_studio_client import TOKEN_VARIABLE, Client, ServerGone

SECRET = "5ecret5ecret5ecret"


@pytest.fixture
def fake():
    with FakeLabelStudio("<View/>") as server:
        yield server


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def connect(fake, pauses):
    def make_client(token=TOKEN, **settings):
        return Client(fake.url, token, sleep=pauses.append, timeout=5, **settings)

    return make_client


def test_a_token_is_taken_from_the_environment(fake, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, f" {TOKEN}\n")
    assert Client(fake.url).project(1)["title"] == "Fake"
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(ValueError, match="there is no token .*LABEL_STUDIO_TOKEN"):
        Client(fake.url)


@pytest.mark.parametrize("token", [SECRET, f"header.{SECRET}.signature"])
def test_a_wrong_token_is_a_clear_error_and_not_shown(connect, token, caplog, fake):
    client = connect(token)
    fake.failures = [("GET", 503)]
    with caplog.at_level(logging.DEBUG), pytest.raises(PermissionError) as caught:
        client.project(1)
    assert "refuses the token" in str(caught.value)
    assert TOKEN_VARIABLE in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text} {client!r}"


def test_a_server_that_repeats_the_token_does_not_bring_it_into_a_message(connect, fake):
    fake.failures = [("GET", 400)]
    with pytest.raises(ValueError, match=r"(?s)400, told to fail: .*Token \.\.\.") as caught:
        connect().project(1)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", [f"{SECRET}\nX: y", f"{SECRET} {SECRET}", f"{SECRET}\u00fc"])
def test_what_cannot_be_a_token_is_refused_and_not_shown(fake, token):
    with pytest.raises(ValueError, match="has spaces or characters that no token has") as caught:
        Client(fake.url, token)
    assert SECRET not in str(caught.value)


def test_a_personal_access_token_is_renewed_when_it_has_run_out(connect, fake):
    client = connect(REFRESH)
    assert client.project(1)["id"] == 1
    assert fake.access == 1
    client.project(1)
    assert fake.access == 1
    fake.access = 7  # the one that the client has is worth nothing now
    assert client.project(1)["id"] == 1
    assert fake.access == 8


@pytest.mark.parametrize("failure", ["before", "after", 500, 502, 503, 504, 429])
def test_what_changes_nothing_is_asked_again_until_there_is_an_answer(
    connect, fake, failure, pauses, caplog
):
    fake.failures = [("GET", failure)] * 4
    assert connect().project(1)["id"] == 1
    assert len(pauses) == 4
    for pause, expected in zip(pauses, (0.5, 1, 2, 4), strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected
    assert caplog.text.count("does not answer") == 1


@pytest.mark.parametrize("failure", ["before", "after", 500, 502, 504])
def test_predictions_that_may_have_arrived_are_not_sent_again(connect, fake, failure, pauses):
    fake.add("a text")
    fake.failures = [("POST", failure)]
    with pytest.raises(ServerGone, match="went away"):
        connect().import_predictions(1, [{"task": 1}])
    assert pauses == ([0.5] if failure == 500 else [])
    assert len(fake.predictions) == (failure == "after")


def test_a_server_with_a_fault_is_not_asked_for_as_long_as_one_that_is_away(
    connect, fake, monkeypatch
):
    clock = itertools.count(step=10.0)
    monkeypatch.setattr(label_studio_client, "time", SimpleNamespace(monotonic=clock.__next__))
    fake.failures = [("GET", 500)] * 99
    with pytest.raises(ValueError, match="refused a request about project 1: 500, told to fail"):
        connect().project(1)
    assert len(fake.requests) < 10


def test_a_page_for_people_is_not_repeated_in_a_message():
    page = "<!doctype html>\n<html><head><style>..."
    assert "html" not in label_studio_client._read_detail(page)
    assert "log of the server" in label_studio_client._read_detail(page)


def test_predictions_that_did_not_arrive_are_sent_again(connect, fake):
    fake.add("a text")
    fake.failures = [("POST", 503), ("POST", 429)]
    connect().import_predictions(1, [{"task": 1}])
    assert fake.predictions == [{"task": 1}]


def test_a_server_that_stays_away_is_an_error_that_says_what_to_do(pauses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # nobody listens
        client = Client(url, TOKEN, patience=3.0, sleep=pauses.append)
        with pytest.raises(ConnectionError, match="did not answer for 3 s .*Connection.*No answer"):
            client.project(1)
    assert len(pauses) == 3  # the fourth pause, 4 s, would be longer


def test_what_is_not_there_or_not_allowed_is_said(connect, fake):
    with pytest.raises(LookupError, match="has no project 7 for this user"):
        connect().project(7)
    fake.failures = [("GET", 403)]
    with pytest.raises(PermissionError, match="does not allow this user project 1"):
        connect().project(1)


def test_another_server_than_label_studio_is_noticed(connect, fake):
    fake.files["/api/projects/8/"] = (200, b"<html>Welcome</html>")
    with pytest.raises(ValueError, match="did not answer as Label Studio does, but with b'<html>"):
        connect().project(8)


def test_the_token_goes_to_no_other_server(connect, fake):
    with FakeLabelStudio("<View/>") as other:
        fake.files |= {
            "location": f"{other.url}/api/projects/1/?token={TOKEN}",
            "/api/projects/8/": (302, b""),
        }
        with pytest.raises(ValueError, match="redirects to .*give the address") as caught:
            connect().project(8)
        assert TOKEN not in str(caught.value)
        with pytest.raises(ValueError, match="nothing is fetched from another server"):
            connect().download(f"{other.url}/a.png")
        assert other.requests == []


def test_files_of_the_server_are_fetched(connect, fake):
    fake.files["/data/upload/1/a.png"] = (200, b"\x89PNG")
    assert connect().download("/data/upload/1/a.png") == b"\x89PNG"
    assert connect().download(f"{fake.url}/data/upload/1/a.png") == b"\x89PNG"


def test_tasks_come_page_by_page(connect, fake):
    fake.add(*(f"text {number}" for number in range(200)))
    numbers = [task["id"] for task in connect().tasks(1)]
    assert numbers == list(range(1, 201))
    since = fake.tasks[199]["updated_at"]
    assert [task["id"] for task in connect().tasks(1, since=since)] == [199, 200]
    assert [task["id"] for task in connect().tasks(1, only=[5, 3])] == [3, 5]


def test_a_project_is_made_and_filled(connect, fake):
    client = connect()
    assert client.create_project("New", "<View></View>") == 1
    assert fake.project["sampling"] == "Uncertainty sampling"
    client.import_tasks(1, [{"data": {"text": "a"}}])
    assert fake.tasks[1]["data"] == {"text": "a"}
    assert client.next_task(1) is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8080", "must look like http://localhost:8080, got 'localhost:8080'"),
        ("ftp://x", "must look like"),
        (f"http://me:{SECRET}@localhost", "must not have a user or a password"),
        (f"me:{SECRET}@localhost", "must look like"),
    ],
)
def test_an_address_that_is_none_is_refused(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        Client(url, TOKEN)
    assert SECRET not in str(caught.value)
