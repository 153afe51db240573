"""Predictions follow the weights, whoever moved them and whatever was remembered."""

import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import SGD, Adam, RAdam
from thinc.optimizers import Optimizer

from spacy_torch.bridge.model import get_shim, run_tensors
from spacy_torch.bridge.torch_optimizers import build_adam, build_adamw, build_radam, build_sgd

MODEL = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": 8,
        "depth": 1,
        "attrs": ["NORM"],
        "rows": [50],
    },
}


class Foreign(Optimizer):
    """Known to Thinc, but not to us."""


def move_at_once(key, weights, gradient):
    weights -= 0.5 * gradient
    return weights, gradient


def make_trained():
    nlp = spacy.blank("en")
    runtime = {"@misc": "spacy-torch.Runtime.v1", "device": "cpu"}
    component = nlp.add_pipe("torch_textcat", config={"model": {**MODEL, "runtime": runtime}})
    texts = [("a good one", "good"), ("the bad one", "bad")] * 2
    examples = [
        Example.from_dict(
            nlp.make_doc(text), {"cats": {label: float(label == true) for label in ("good", "bad")}}
        )
        for text, true in texts
    ]
    nlp.initialize(lambda: examples)
    component.update(examples, sgd=SGD(0.1))  # the output starts at zero, and hides the encoder
    return component, examples


def predict(component, examples):
    docs = [example.predicted for example in examples]
    return run_tensors(component.logits_model, docs, is_train=False)[0].clone()


def predict_anew(component, examples):
    """What a component that has never predicted gives with the same weights."""
    fresh, _ = make_trained()
    fresh.from_bytes(component.to_bytes(exclude=["vocab"]), exclude=["vocab"])
    return predict(fresh, examples)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: Adam(0.1),
        lambda: RAdam(0.1),
        lambda: SGD(0.1),
        lambda: build_adam(0.1),
        lambda: build_adamw(0.1),
        lambda: build_radam(0.1),
        lambda: build_sgd(0.1),
        lambda: build_sgd(0.1, momentum=0.9),
        lambda: Foreign(0.1),
        lambda: move_at_once,
    ],
)
def test_prediction_between_gradient_and_step_is_not_remembered(optimizer):
    component, examples = make_trained()
    component.update(examples, sgd=None)
    before = predict(component, examples)
    component.finish_update(optimizer())
    after = predict(component, examples)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, predict_anew(component, examples))


def test_weights_moved_after_a_prediction_by_one_who_took_notes_are_noticed():
    component, examples = make_trained()
    notes = {}

    def take_notes(key, weights, gradient):
        notes[key] = (weights, gradient)
        return weights, gradient

    component.update(examples, sgd=take_notes)
    for _ in range(2):
        before = predict(component, examples)
        for weights, gradient in notes.values():
            weights -= 0.5 * gradient
        after = predict(component, examples)
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, predict_anew(component, examples))
    for weights, gradient in notes.values():
        weights -= 0.5 * gradient
    del weights, gradient
    notes.clear()
    torch.testing.assert_close(predict(component, examples), predict_anew(component, examples))


def test_prediction_between_forward_and_backward_does_not_disturb_the_gradient():
    component, examples = make_trained()
    component.update(examples, sgd=move_at_once)
    docs = [example.predicted for example in examples]
    logits, backprop = run_tensors(component.logits_model, docs, is_train=True)
    predict(component, examples)
    backprop(torch.ones_like(logits))
    parameters = get_shim(component.logits_model).module.parameters()
    assert any(parameter.grad is not None for parameter in parameters)
