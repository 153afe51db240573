"""How long a training will take."""

import pytest

from spacy_torch.training.run_length import RunLength
from spacy_torch.training.score_table import format_seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    times = [0.0]
    monkeypatch.setattr("spacy_torch.training.run_length.perf_counter", lambda: times[0])
    return times


def take_steps(length, clock, *, n, seconds):
    for _ in range(n):
        clock[0] += seconds
        length.take_step()


def test_rest_is_at_the_pace_of_all_steps_but_the_first(clock):
    length = RunLength(max_steps=100, max_epochs=0)
    take_steps(length, clock, n=1, seconds=60.0)  # reads the data, too
    assert length.seconds_left is None
    take_steps(length, clock, n=20, seconds=2.0)
    assert (length.step, length.total) == (20, 100)
    assert length.seconds_left == pytest.approx(80 * 2.0)


def test_resumed_run_has_the_pace_of_its_own_steps(clock):
    length = RunLength(max_steps=100, max_epochs=0)
    take_steps(length, clock, n=11, seconds=2.0)
    length.take_position(step=60, epoch=3)
    assert length.seconds_left == pytest.approx(40 * 2.0)


def test_epochs_say_the_end_once_one_has_ended(clock):
    length = RunLength(max_steps=0, max_epochs=4)
    assert length.total is None
    assert length.seconds_left is None
    length.take_position(step=99, epoch=1)  # between 50 and 100 steps an epoch
    assert 4 * 50 <= length.total <= 4 * 100


@pytest.mark.parametrize(("max_steps", "total"), [(150, 150), (10_000, 267)])
def test_whichever_comes_first_is_the_end(max_steps, total):
    length = RunLength(max_steps=max_steps, max_epochs=4)
    length.take_position(step=99, epoch=1)
    assert length.total == total  # 267 = 100 * 4 / 1.5


def test_streamed_corpus_without_a_limit_has_no_end():
    length = RunLength(max_steps=0, max_epochs=-1)
    length.take_position(step=99, epoch=3)
    assert length.total is None


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (7325, "2:02:05")]
)
def test_times_are_shown_as_people_write_them(seconds, shown):
    assert format_seconds(seconds) == shown
