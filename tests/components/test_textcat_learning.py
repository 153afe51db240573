"""What a text classifier learns from, and how its scores are counted."""

import math

import numpy
import pytest
import spacy
import torch
from spacy.training import Example
from tiny_textcat import TEXTS, Bag, make_examples, make_nlp, number_words, predict, train

from spacy_torch.architectures.module import build_module
from spacy_torch.bridge.model import get_shim
from spacy_torch.components.losses import build_cross_entropy, build_focal
from spacy_torch.components.textcat import TextCategorizer
from spacy_torch.components.textcat_scorer import score_multilabel

nan = math.nan


def make_component(exclusive: bool = True, **settings: object) -> TextCategorizer:
    model = build_module(Bag, number_words, exclusive_classes=exclusive)
    settings.setdefault("loss", build_focal())
    return TextCategorizer(spacy.vocab.Vocab(), model, "topics", exclusive=exclusive, **settings)


def examples_with(*cats: dict[str, float]) -> list[Example]:
    nlp = spacy.blank("en")
    return [Example.from_dict(nlp.make_doc(f"text {i}"), {"cats": c}) for i, c in enumerate(cats)]


@pytest.mark.parametrize("factory", ["torch_textcat", "torch_textcat_multilabel"])
def test_classifier_learns_its_texts_and_survives_saving(factory, tmp_path):
    nlp = make_nlp(factory)
    train(nlp, steps=150)
    for scores, true in zip(predict(nlp), TEXTS.values(), strict=True):
        assert max(scores, key=scores.get) == true
    nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == predict(nlp)
    for text, scores in zip(TEXTS, predict(nlp), strict=True):
        assert nlp(text).cats == pytest.approx(scores, abs=1e-6)


def test_exclusive_scores_sum_to_one():
    nlp = make_nlp()
    train(nlp, steps=3)
    for scores in predict(nlp):
        assert sum(scores.values()) == pytest.approx(1.0)


def test_values_of_labels_become_targets_and_unknown_ones_are_nan():
    component = make_component(exclusive=False)
    examples = examples_with({"a": 1.0, "b": 0.0}, {"b": 1.0}, {}, {"b": 0.0, "a": 1.0})
    component.initialize(lambda: examples)
    expected = [[1, 0], [nan, 1], [nan, nan], [1, 0]]
    numpy.testing.assert_array_equal(component.read_targets(examples), expected)


def test_unknown_labels_train_nothing():
    component = make_component(exclusive=False)
    examples = examples_with({"a": 1.0, "b": 0.0}, {})
    component.initialize(lambda: examples)
    logits = torch.zeros(2, 2, requires_grad=True)
    component.compute_loss(examples, logits).backward()
    assert (logits.grad[0] != 0).all()
    assert (logits.grad[1] == 0).all()


def test_given_class_weights_multiply_the_loss():
    plain = make_component(loss=build_cross_entropy())
    weighted = make_component(loss=build_cross_entropy(), class_weights={"b": 3.0})
    examples = examples_with({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0})
    for component in (plain, weighted):
        component.initialize(lambda: examples)
    logits = torch.zeros(2, 2)
    # One row with weight 1 and one with weight 3, where there were two of weight 1.
    ratio = weighted.compute_loss(examples, logits) / plain.compute_loss(examples, logits)
    assert float(ratio) == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize(
    ("exclusive", "expected"), [(True, {"a": 4 / 6, "b": 4 / 2}), (False, {"a": 1 / 3, "b": 3.0})]
)
def test_balanced_class_weights_make_up_for_the_counts(exclusive, expected):
    component = make_component(exclusive=exclusive, class_weights="balanced")
    a, b = {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}
    component.initialize(lambda: examples_with(a, a, a, b))
    assert component.cfg["class_weights"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("exclusive", "expected"),
    [(True, {"a": 4 / 6, "b": 4 / 2, "c": 1.0}), (False, {"a": 1 / 3, "b": 3.0, "c": 1.0})],
)
def test_label_that_is_never_true_has_balanced_weight_one(exclusive, expected):
    component = make_component(exclusive=exclusive, class_weights="balanced")
    a, b = {"a": 1.0, "b": 0.0, "c": 0.0}, {"a": 0.0, "b": 1.0, "c": 0.0}
    component.initialize(lambda: examples_with(a, a, a, b))
    assert component.cfg["class_weights"] == pytest.approx(expected)


def test_reported_loss_comes_with_its_own_gradient():
    component = make_component(exclusive=False)
    examples = examples_with({"a": 1.0, "b": 0.0}, {"b": 1.0})
    component.initialize(lambda: examples)
    scores = torch.tensor([[0.2, 0.7], [0.9, 0.4]], requires_grad=True)
    truth = torch.tensor([[1.0, 0.0], [nan, 1.0]])
    squares = torch.where(truth.isnan(), 0.0, scores - truth.nan_to_num()) ** 2
    squares.mean().backward()
    loss, gradient = component.get_loss(examples, scores.detach().numpy())
    assert loss == pytest.approx(squares.mean().item())
    numpy.testing.assert_allclose(gradient, scores.grad.numpy(), rtol=1e-6)


def test_label_added_later_has_weight_one():
    component = make_component(class_weights="balanced")
    component.initialize(lambda: examples_with({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}))
    component.add_label("c")
    loss = component.compute_loss(examples_with({"c": 1.0}), torch.zeros(1, 3))
    assert loss.isfinite()


def test_given_labels_keep_their_order():
    nlp = make_nlp()
    examples = make_examples(nlp)
    component = nlp.get_pipe("torch_textcat")
    component.initialize(lambda: examples, labels=["bad", "good", "ugly"])
    assert component.labels == ("bad", "good", "ugly")
    assert get_shim(component.logits_model).sizes == {"n_labels": 3}


def scored(**scores: float) -> Example:
    example = Example.from_dict(spacy.blank("en").make_doc("x"), {"cats": {"a": 1.0, "b": 0.0}})
    example.predicted.cats = scores
    return example


@pytest.mark.parametrize(
    ("thresholds", "found"), [({}, 1.0), ({"a": 0.7}, 0.0), ({"a": 0.6}, 1.0), ({"b": 0.1}, 1.0)]
)
def test_threshold_of_a_label_decides_whether_it_counts(thresholds, found):
    scores = score_multilabel([scored(a=0.6, b=0.2)], labels=["a", "b"], thresholds=thresholds)
    assert scores["cats_f_per_type"]["a"]["r"] == found
    assert scores["cats_f_per_type"]["b"]["p"] == 0.0


def test_thresholds_do_not_change_the_area_under_the_curve():
    examples = [scored(a=0.6, b=0.2), scored(a=0.9, b=0.4), scored(a=0.1, b=0.7)]
    examples[2].reference.cats = {"a": 0.0, "b": 1.0}
    plain = score_multilabel(examples, labels=["a", "b"])
    moved = score_multilabel(examples, labels=["a", "b"], thresholds={"a": 0.95, "b": 0.05})
    assert plain["cats_macro_auc"] == moved["cats_macro_auc"]


def test_pipeline_is_scored_with_its_thresholds():
    nlp = make_nlp("torch_textcat_multilabel", thresholds={"good": 1.0, "bad": 1.0})
    train(nlp, steps=5)
    assert nlp.evaluate(make_examples(nlp))["cats_micro_r"] == 0.0
