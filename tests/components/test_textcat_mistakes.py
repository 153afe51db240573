"""What a user can get wrong with a text classifier, and what the error then says."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from thinc.api import ConfigValidationError, Linear
from tiny_textcat import Bag, make_examples, make_nlp, number_words, train

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.from_tok2vec import build_from_tok2vec
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.module import build_module
from spacy_torch.bridge.errors import ModuleOutputError
from spacy_torch.components.losses import (
    Focal,
    build_binary_cross_entropy,
    build_cross_entropy,
    build_focal,
)
from spacy_torch.components.textcat import TextCategorizer
from spacy_torch.components.torch_pipe import TorchPipe

Vocab = spacy.vocab.Vocab


class Returning(Bag):
    """A classifier that returns something else than its logits."""

    def __init__(self, n_labels: int, returned: Any) -> None:
        super().__init__(n_labels)
        self.returned = returned

    def forward(self, batch: Any) -> Any:
        return self.returned(super().forward(batch))


def predict_with(returned: Any) -> None:
    build = partial(Returning, returned=returned)
    model = build_module(build, number_words, exclusive_classes=True)
    component = TextCategorizer(
        Vocab(), model, "topics", exclusive=True, loss=build_cross_entropy()
    )
    nlp = spacy.blank("en")
    examples = make_examples(nlp)
    component.initialize(lambda: examples)
    component.predict([example.reference for example in examples[:3]])


# The module -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: {"logits": x}, r"a dict with the keys \['logits'\]: return the value that"),
        (lambda x: (x, x), r"returned a tuple of 2: return the item that holds them"),
        (lambda x: None, r"returned a NoneType: end forward\(\) with `return logits`"),
        (lambda x: x.numpy(), r"returned a ndarray: return the tensor itself, before .numpy\(\)"),
        (lambda x: x.argmax(1), r"a tensor of type torch.int64: return scores, before any argmax"),
        (lambda x: x > 0, r"a tensor of type torch.bool: return scores, before any argmax"),
        (lambda x: list(x), r"returned a list of 3 tensors: return the one .*, or torch.stack"),
        (lambda x: x[:, 0], r"the shape \(3,\): give one column per label, .* also if it is one"),
        (lambda x: x[:2], r"the shape \(2, 2\): give one row per document"),
        (lambda x: x[:, :1], r"the shape \(3, 1\): give one column per label, sized by the argu"),
        (lambda x: x.unsqueeze(2), r"the shape \(3, 2, 1\): give one row per document"),
    ],
)
def test_module_that_returns_no_logits_says_what_it_returned(returned, message):
    expected = r"must return its logits, one float tensor of shape \(batch, label\) = \(3, 2\), "
    with pytest.raises(ModuleOutputError, match=f"{expected}.*{message}"):
        predict_with(returned)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_logits_may_be_of_any_float_type(dtype):
    predict_with(lambda logits: logits.to(dtype))


@pytest.mark.parametrize("build", [lambda width=3: Bag(2, width), lambda: Bag(2)])
def test_builder_that_forgets_the_label_count_is_refused(build):
    message = (
        r"argument `module`\) must take the keyword n_labels.*but it is .*<lambda>\((width=3)?\): "
        "add n_labels to the signature and leave it unbound"
    )
    with pytest.raises(TypeError, match=message):
        build_module(build, number_words, exclusive_classes=True)


def test_module_instead_of_its_class_is_refused():
    with pytest.raises(TypeError, match=r"but it is a Bag already: pass the class itself or"):
        build_module(Bag(2), number_words, exclusive_classes=True)


def test_builder_that_returns_the_class_is_refused():
    def build(n_labels: int) -> Any:
        return Bag

    model = build_module(build, number_words, exclusive_classes=True)
    with pytest.raises(TypeError, match=r"returned 'type', expected a torch.nn.Module"):
        model.initialize(X=[], Y=torch.zeros(1, 2).numpy())


def test_kind_of_labels_must_be_said():
    model = {"@architectures": "spacy-torch.Module.v1", "module": Bag, "features": number_words}
    message = "missing required argument: 'exclusive_classes'"
    with pytest.raises(ConfigValidationError, match=message):
        registry.resolve({"model": model})


@pytest.mark.parametrize("features", [None, "words", [1]])
def test_features_must_be_a_function(features):
    with pytest.raises(TypeError, match="features must be a function from a list of Doc objects"):
        build_module(Bag, features, exclusive_classes=True)


def test_classifier_is_not_sized_without_a_truth():
    model = build_classifier(Bag, number_words, name="mine", exclusive_classes=True)
    with pytest.raises(ValueError, match=r"sized by its labels: initialize it with a sample of"):
        model.initialize(X=[])


def test_tok2vec_of_unknown_width_is_refused():
    with pytest.raises(ValueError, match=r"'linear' does not say how wide its vectors are: give"):
        build_from_tok2vec(Linear())


# The component's parts ------------------------------------------------------------------


def make_component(**settings: Any) -> TextCategorizer:
    exclusive = settings.pop("exclusive", True)
    model = settings.pop("model", None) or build_module(
        Bag, number_words, exclusive_classes=exclusive
    )
    loss = settings.pop("loss", build_focal())
    return TextCategorizer(Vocab(), model, "topics", exclusive=exclusive, loss=loss, **settings)


@pytest.mark.parametrize(
    ("exclusive", "loss", "message"),
    [
        (True, build_binary_cross_entropy(), r"has exclusive labels, which the loss Binary.* use "
         r"spacy-torch.CrossEntropy.v1 or spacy-torch.Focal.v1"),
        (False, build_cross_entropy(), r"labels that do not exclude each other, which the loss "
         r"CrossEntropy.* use spacy-torch.BinaryCrossEntropy.v1 or"),
    ],
)  # fmt: skip
def test_loss_for_the_other_kind_of_labels_is_refused(exclusive, loss, message):
    with pytest.raises(ValueError, match=message):
        make_component(exclusive=exclusive, loss=loss)


@pytest.mark.parametrize("exclusive", [True, False])
def test_model_for_the_other_kind_of_labels_is_refused(exclusive):
    model = build_module(Bag, number_words, exclusive_classes=not exclusive)
    message = f"set exclusive_classes = {str(exclusive).lower()} in its"
    with pytest.raises(ValueError, match=message):
        make_component(model=model, exclusive=exclusive)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Bag(2), r"got a Bag \(a torch module\): return build_module\(Bag, SETTINGS\)"),
        (Bag, r"got the class Bag: return build_module\(Bag, SETTINGS\) from"),
        (None, r"got None: end your function with `return build_module\(MyModule, SETTINGS\)`"),
        (build_hash_embed_cnn(), r"got an Encoder: an encoder belongs in the \[model.encoder\]"),
        ("TextCat", r"got a str: return build_module\(MyModule, SETTINGS\) from"),
    ],
)
def test_something_else_than_a_model_is_refused(model, message):
    message = message.replace("SETTINGS", "features, exclusive_classes=True")
    with pytest.raises(TypeError, match=f"'topics': the model must be a Thinc Model, {message}"):
        TextCategorizer(Vocab(), model, "topics", exclusive=True, loss=build_focal())


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (None, "None"),
        (torch.nn.CrossEntropyLoss(), r"CrossEntropyLoss\(\)"),
        (Focal, "the class Focal"),
        (torch.nn.functional.cross_entropy, "<function cross_entropy"),
    ],
)
def test_something_else_than_a_loss_is_refused(loss, got):
    message = (
        r"'topics': the loss must be an object with the two methods __call__\(logits, targets, "
        rf"weights, \*, exclusive\) and serves\(\*, exclusive\), got {got}.*: return an instance"
    )
    with pytest.raises(TypeError, match=message):
        make_component(loss=loss)


@dataclass(frozen=True)
class Wrong(Focal):
    """A loss that returns something else than one number."""

    returned: Any = None

    def __call__(self, logits: Any, *args: Any, **kwargs: Any) -> Any:
        return self.returned(logits)


@pytest.mark.parametrize(
    ("returned", "gave"),
    [
        (lambda x: None, "None"),
        (lambda x: 0.5, "a float"),
        (lambda x: x.sum().item(), "a float"),
        (lambda x: x.sum(1), r"a tensor of shape \(6,\)"),
        (lambda x: x.sum().detach(), "a number that does not depend on them"),
        (lambda x: x.argmax(1).float().sum(), "a number that does not depend on them"),
        (lambda x: torch.ones((), requires_grad=True) * 2, "a number that does not depend on them"),
    ],
)
def test_loss_that_cannot_be_learned_from_is_named(returned, gave):
    component = make_component(loss=Wrong(returned=returned))
    nlp = spacy.blank("en")
    examples = make_examples(nlp)
    component.initialize(lambda: examples)
    message = (
        r"'topics': the loss Wrong\(.* must give one number that depends on the logits, but it "
        rf"gave {gave}: sum over the batch with .sum\(\), and avoid .item\(\)"
    )
    with pytest.raises(TypeError, match=message):
        component.update(examples)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(
    "loss", [build_cross_entropy(), build_binary_cross_entropy(), build_focal()]
)
def test_batch_that_knows_nothing_may_be_learned_from(exclusive, loss):
    if loss.serves(exclusive=exclusive):
        component = make_component(exclusive=exclusive, loss=loss)
        component.initialize(lambda: examples_with({"a": 1.0, "b": 0.0}))
        assert component.update(examples_with({})) == {"topics": 0.0}


def test_own_loss_is_named_by_the_component_that_computes_it():
    class Mine(TorchPipe):
        def compute_loss(self, examples: Any, logits: Any) -> Any:
            return None

    nlp = make_nlp()
    train(nlp, steps=1)
    component = Mine(nlp.vocab, nlp.get_pipe("torch_textcat").model, "mine")
    with pytest.raises(TypeError, match="'mine': the loss Mine.compute_loss must give one number"):
        component.update(make_examples(nlp))


def test_module_that_detaches_its_logits_is_named():
    build = partial(Returning, returned=lambda x: x.detach())
    model = build_module(build, number_words, exclusive_classes=True)
    component = make_component(model=model)
    examples = make_examples(spacy.blank("en"))
    component.initialize(lambda: examples)
    message = r"spacy-torch.Module.v1: the module Returning has parameters to train, but what it"
    with pytest.raises(ModuleOutputError, match=message):
        component.update(examples)


def test_initialize_without_examples_names_the_component():
    message = r"'topics': initialize\(\) got no examples: look whether the training corpus"
    with pytest.raises(ValueError, match=message):
        make_component().initialize(lambda: [])


def test_initialize_with_no_function_names_the_component():
    with pytest.raises(TypeError, match="'topics', TextCategorizer.initialize"):
        make_component().initialize(None)


def test_stock_model_is_refused():
    stock = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": True,
        "ngram_size": 1,
        "no_output_layer": False,
        "length": 8,
    }
    with pytest.raises(ValueError, match=r"has no logits inside; use an architecture such as"):
        make_nlp(model=stock)


@pytest.mark.parametrize("gamma", [-1, -0.1])
def test_gamma_must_not_be_negative(gamma):
    with pytest.raises(ValueError, match=f"gamma must be >= 0, got {gamma}"):
        build_focal(gamma=gamma)


@pytest.mark.parametrize("build", [build_cross_entropy, build_binary_cross_entropy])
@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_must_be_a_share(build, smoothing):
    with pytest.raises(ValueError, match=f"at least 0 and less than 1, got {smoothing}"):
        build(label_smoothing=smoothing)


# The labels -----------------------------------------------------------------------------


def examples_with(*cats: dict[str, float]) -> list[Example]:
    nlp = spacy.blank("en")
    return [Example.from_dict(nlp.make_doc(f"text {i}"), {"cats": c}) for i, c in enumerate(cats)]


@pytest.mark.parametrize(
    ("exclusive", "cats", "message"),
    [
        (True, {}, r"'topics' needs at least 2 labels, found \[\]: annotate doc.cats"),
        (True, {"a": 1.0}, r"at least 2 labels, found \['a'\].*use \"torch_textcat_multilabel\""),
        (False, {}, r"'topics' needs at least 1 label, found \[\]: annotate doc.cats"),
    ],
)
def test_too_few_labels_are_named(exclusive, cats, message):
    with pytest.raises(ValueError, match=message):
        make_component(exclusive=exclusive).initialize(lambda: examples_with(cats))


@pytest.mark.parametrize(
    ("cats", "positive"),
    [({"a": 1.0, "b": 0.0}, "c"), ({"a": 1.0, "b": 0.0, "c": 0.0}, "a")],
)
def test_positive_label_must_be_one_of_two(cats, positive):
    message = f"positive_label must be one of two exclusive labels, got '{positive}' with the la"
    with pytest.raises(ValueError, match=message):
        make_component().initialize(lambda: examples_with(cats), positive_label=positive)


@pytest.mark.parametrize("setting", ["class_weights", "thresholds"])
def test_setting_of_an_unknown_label_is_refused(setting):
    component = make_component(**{setting: {"a": 1.0, "x": 0.5}})
    message = rf"{setting} names \['x'\], which are no labels; the labels are \['a', 'b'\]"
    with pytest.raises(ValueError, match=message):
        component.initialize(lambda: examples_with({"a": 1.0, "b": 0.0}))


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"threshold": 1.5}, "threshold = 1.5"),
        ({"threshold": -0.1}, "threshold = -0.1"),
        ({"thresholds": {"a": 0.5, "b": 50.0}}, r"thresholds = \{'b': 50.0\}"),
        ({"thresholds": {"a": float("nan")}}, r"thresholds = \{'a': nan\}"),
    ],
)
def test_threshold_must_be_a_possible_score(settings, got):
    message = f"'topics': a threshold must be between 0 and 1, as scores are, got {got}"
    with pytest.raises(ValueError, match=message):
        make_component(**settings)


@pytest.mark.parametrize("threshold", [0, 0.0, 1, 1.0])
def test_threshold_may_be_the_least_and_the_highest_score(threshold):
    component = make_component(threshold=threshold, thresholds={"a": threshold})
    component.initialize(lambda: examples_with({"a": 1.0, "b": 0.0}))
    assert component.cfg["thresholds"] == {"a": threshold}


@pytest.mark.parametrize(
    ("cats", "message"),
    [
        ({"a": 1.0, "b": 1.0}, r"'text 0' has the categories .* exactly one label may be 1.0; use"),
        ({"a": 0.5, "b": 0.0}, r"'text 0' has the categories \{'a': 0.5\}, but each value must be"),
    ],
)
def test_impossible_truth_is_shown_with_its_text(cats, message):
    with pytest.raises(ValueError, match=message):
        make_component().initialize(lambda: examples_with(cats))


@pytest.mark.parametrize("value", ["yes", "1.0", None, [1.0]])
@pytest.mark.parametrize("others", [{"b": 0.0}, {}])
def test_truth_that_is_no_number_is_shown_with_its_text(value, others):
    examples = examples_with({"a": 1.0, "b": 0.0}, {"a": value, **others})
    message = rf"'topics': the example 'text 1' has the categories .*{re.escape(repr(value))}.*"
    message += f"but 'a' is a {type(value).__name__}: each value must be the number 1.0"
    with pytest.raises(ValueError, match=message):
        make_component().initialize(lambda: examples)


def test_mistake_is_told_of_a_component_by_its_new_name():
    nlp = make_nlp()
    train(nlp, steps=1)
    nlp.rename_pipe("torch_textcat", "mood")
    with pytest.raises(ValueError, match="'mood': the example 'text 0' has the categories"):
        nlp.get_pipe("mood").read_targets(examples_with({"good": 1.0, "bad": 1.0}))


@pytest.mark.parametrize("value", [1, True, numpy.float32(1), numpy.int64(1), numpy.True_])
def test_truth_may_be_any_kind_of_number(value):
    component = make_component()
    component.initialize(lambda: examples_with({"a": 1.0, "b": 0.0}))
    examples = examples_with({"a": value}, {"a": value, "b": 0})
    assert component.read_targets(examples)[:, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_class_weight_must_be_finite_and_above_zero(weight):
    message = "'topics': a class weight must be a finite number above 0, got class_weights = "
    with pytest.raises(ValueError, match=message + rf"\{{'b': {weight}\}}"):
        make_component(class_weights={"a": 1.0, "b": weight})


def test_update_wants_examples():
    nlp = make_nlp()
    train(nlp, steps=1)
    with pytest.raises(TypeError, match="TextCategorizer.update"):
        nlp.get_pipe("torch_textcat").update([Doc(nlp.vocab)])
