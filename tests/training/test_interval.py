"""Checkpoints are written in time, by all processes at once, and cost little."""

import pytest

from spacy_torch.distributed.world import World
from spacy_torch.training import interval as module
from spacy_torch.training.interval import Interval


@pytest.fixture
def clock(monkeypatch):
    """A clock to be set: clock[0] is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


class Crowd(World):
    """Two processes, of which this is the first; counts how often they ask each other."""

    asked = 0

    def broadcast(self, value):
        Crowd.asked += 1
        return value


def due_steps(interval, clock, *, seconds_per_step, n_steps, cost=0.0):
    """The steps before which a checkpoint is written."""
    found = []
    for step in range(n_steps):
        if interval.is_due(step):
            clock[0] += cost
            interval.start(step, cost=cost)
            found.append(step)
        clock[0] += seconds_per_step
    return found


def test_steps_count_from_the_beginning_of_the_training(clock):
    interval = Interval(steps=4, world=World())
    assert due_steps(interval, clock, seconds_per_step=1000, n_steps=13) == [4, 8, 12]


def test_one_is_written_after_a_minute(clock):
    interval = Interval(world=World())
    assert due_steps(interval, clock, seconds_per_step=7, n_steps=25) == [9, 18]


def test_slow_one_is_followed_by_a_longer_wait(clock):
    """Three seconds may be 2 % of the time: 150 seconds."""
    interval = Interval(world=World())
    assert due_steps(interval, clock, seconds_per_step=10, n_steps=40, cost=3.0) == [6, 21, 36]


def test_nothing_is_written_before_the_first_step(clock):
    interval = Interval(seconds=0, world=World())
    assert due_steps(interval, clock, seconds_per_step=1, n_steps=4) == [1, 2, 3]


def test_processes_ask_each_other_in_few_steps(clock):
    Crowd.asked = 0
    interval = Interval(world=Crowd(0, 2))
    found = due_steps(interval, clock, seconds_per_step=0.1, n_steps=1300)
    assert len(found) == 2
    assert all(600 <= step <= 640 for step in (found[0], found[1] - found[0]))
    assert Crowd.asked < 60


@pytest.mark.parametrize("kind", ["steps", "seconds"])
def test_negative_numbers_are_refused(kind):
    with pytest.raises(ValueError, match="must not be negative, got .*-1"):
        Interval(**{kind: -1}, world=World())
