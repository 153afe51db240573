"""Losses of a resumed run go on, in the type that they had."""

import json

import numpy

from spacy_torch.training.losses import LossWindow


def test_sums_go_on_bit_for_bit_in_their_type():
    """In float32, adding is not what it is in float64: 0.1 three times shows it."""
    single, double = numpy.float32(0.1), 0.1
    whole = {"a": single + single + single, "b": double + double + double}
    window = LossWindow()
    window.use({"a": single + single, "b": double + double})
    saved = json.loads(json.dumps(window.save()))
    resumed, losses = LossWindow(), {}
    resumed.load(saved)
    assert resumed.save() == saved
    resumed.use(losses)
    losses["a"] += single
    losses["b"] += double
    assert losses == whole
    assert [type(losses[name]) for name in "ab"] == [numpy.float32, float]


def test_losses_are_carried_over_once():
    window, losses = LossWindow(), {"a": 1.0}
    window.load({"a": ["float", 2.0]})
    for _ in range(2):
        window.use(losses)
    assert losses == {"a": 3.0}
    other = {}
    window.use(other)
    assert other == {}
    window.use(None)
    assert window.save() == {}


def test_evaluation_begins_anew():
    window = LossWindow()
    window.load({"a": ["float", 2.0]})
    window.close()
    losses = {}
    window.use(losses)
    assert losses == {}
