"""Two streams of random numbers that do not disturb each other, and can be written down."""

import json
import random

import numpy
import torch

from spacy_torch.training.random_state import (
    RandomState,
    RandomStreams,
    position_of_data,
    reseed_cupy,
)


def draw():
    """Some numbers of each generator; the normal ones leave a second one waiting inside."""
    return (
        random.random(),
        random.gauss(0, 1),
        numpy.random.normal(),
        torch.rand(2).tolist(),
    )


def test_saved_state_gives_the_same_numbers_again():
    draw()
    saved = json.loads(json.dumps(RandomState.now().to_json()))
    expected = [draw() for _ in range(3)]
    draw()
    RandomState.from_json(saved).restore()
    assert [draw() for _ in range(3)] == expected


def test_models_do_not_change_what_the_data_draws():
    start = RandomState.now()
    expected = [draw() for _ in range(4)]
    start.restore()
    streams = RandomStreams(with_numpy=True)
    found = []
    for _ in range(4):
        found.append(draw())
        with streams.for_models():
            draw()
    assert found == expected


def test_data_does_not_change_what_models_draw():
    """Where only the models draw, they draw what they would without two streams."""
    start = RandomState.now()
    expected = [draw() for _ in range(4)]
    start.restore()
    streams = RandomStreams(with_numpy=True)
    found = []
    for _ in range(4):
        draw()
        with streams.for_models(), streams.for_models():  # an evaluation in an update
            found.append(draw())
    assert found == expected


def test_numpy_is_left_alone_where_it_has_one_stream():
    start = RandomState.now()
    expected = numpy.random.random(4).tolist()
    start.restore()
    streams = RandomStreams(with_numpy=False)
    found = []
    for _ in range(2):
        found.append(numpy.random.random())
        with streams.for_models():
            found.append(numpy.random.random())
    assert found == expected


def test_stream_of_the_models_goes_on_where_it_was_saved():
    for with_numpy in (True, False):
        streams = RandomStreams(with_numpy=with_numpy)
        with streams.for_models():
            draw()
        saved = json.loads(json.dumps(streams.save()))
        with streams.for_models():
            expected = draw()
        other = RandomStreams(with_numpy=with_numpy)
        before = random.getstate()
        other.load(saved)
        assert random.getstate() == before
        with other.for_models():
            assert draw() == expected


def test_processes_draw_other_numbers_for_their_models_and_the_same_for_the_data():
    start = RandomState.now()
    drawn = []
    for rank in range(3):
        start.restore()
        streams = RandomStreams(with_numpy=True)
        if rank:
            streams.differ(rank)
        with streams.for_models():
            drawn.append(draw())
        assert position_of_data() == position_of_data()
        assert random.getstate() == start.python
    for numbers in zip(*drawn, strict=True):
        assert len({str(number) for number in numbers}) == 3


def test_position_moves_with_each_number():
    before = position_of_data()
    random.random()
    assert position_of_data() != before


def test_cupy_is_seeded_where_it_is(monkeypatch):
    seeds = []

    class Module:
        class random:
            seed = seeds.append

    reseed_cupy(1)
    monkeypatch.setattr("thinc.api.CupyOps.xp", Module)
    reseed_cupy(2)
    assert seeds[-1:] == [2]
