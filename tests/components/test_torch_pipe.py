"""Every component with a torch module: saving, loading, copying, labels, rehearsing."""

import errno
import itertools
import json
import os
import pickle
from typing import Any

import numpy
import pytest
import spacy
import torch
from safetensors.torch import load_file
from spacy.language import Language
from spacy.training import Example
from tiny_textcat import make_examples, make_nlp, predict, train

from spacy_torch.bridge import weights
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.weights import WeightsError
from spacy_torch.components.torch_pipe import TorchPipe

NAME = "torch_textcat"


def make_trained(**config: Any) -> Language:
    nlp = make_nlp(**config)
    train(nlp)
    return nlp


def make_with_labels(*labels: str) -> Language:
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp, ["good", "bad", *labels]))
    return nlp


@pytest.mark.parametrize("n_more_labels", [0, 2])
def test_initialized_component_loads_any_number_of_labels(n_more_labels, tmp_path):
    nlp = make_trained()
    nlp.to_disk(tmp_path)
    other = make_with_labels(*map(str, range(n_more_labels)))
    assert predict(other.from_disk(tmp_path)) == predict(nlp)
    other = make_with_labels(*map(str, range(n_more_labels)))
    assert predict(other.from_bytes(nlp.to_bytes())) == predict(nlp)


def test_untrained_component_can_be_saved_and_initialized_later(tmp_path):
    make_nlp().to_disk(tmp_path)
    nlp = make_nlp().from_disk(tmp_path)
    train(nlp)
    assert predict(nlp)[0]["good"] > 0.5


def test_pickled_component_predicts_alike():
    nlp = make_trained()
    component = pickle.loads(pickle.dumps(nlp.get_pipe(NAME)))
    docs = [nlp.make_doc("good nice film")]
    assert (component.predict(docs) == nlp.get_pipe(NAME).predict(docs)).all()


def test_saved_directory_holds_weights_that_any_tool_can_read(tmp_path):
    make_trained().to_disk(tmp_path)
    assert {p.name for p in (tmp_path / NAME).iterdir()} == {"cfg", "model", "model.safetensors"}
    assert load_file(tmp_path / NAME / "model.safetensors")["output.bias"].shape == (2,)


def test_pipeline_loads_by_its_config_alone(tmp_path):
    nlp = make_trained()
    nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == predict(nlp)


def test_disk_that_fills_while_saving_leaves_the_last_save(tmp_path, monkeypatch):
    nlp = make_trained()
    nlp.to_disk(tmp_path)
    before = predict(nlp)
    nlp.update(make_examples(nlp), sgd=nlp.resume_training())

    def write_to_a_full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(weights, "_write", write_to_a_full_disk)
        with pytest.raises(OSError, match=r"nothing was replaced.*model\.safetensors"):
            nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == before


@pytest.mark.parametrize(
    ("k", "words"), [(1, "nothing was replaced"), (2, "1 other files were"), (3, "2 other files")]
)
@pytest.mark.parametrize("adds_label", [True, False])
def test_disk_that_fails_between_renames_never_leaves_a_mixture(
    k, words, adds_label, tmp_path, monkeypatch
):
    nlp = make_trained()
    nlp.to_disk(tmp_path)
    before = predict(nlp)
    nlp.update(make_examples(nlp), sgd=nlp.resume_training())
    if adds_label:
        nlp.get_pipe(NAME).add_label("ugly")
    calls, replace = itertools.count(1), os.replace

    def fail_once(*args: Any) -> None:
        if next(calls) == k:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_once)
        with pytest.raises(OSError, match=words):
            nlp.to_disk(tmp_path)
    assert not list(tmp_path.rglob(".spacy-torch-*"))
    if k == 1:
        assert predict(spacy.load(tmp_path)) == before
    elif k == 2:
        with pytest.raises(WeightsError, match=r"come from two different saves|has shape|labels"):
            spacy.load(tmp_path)
    elif adds_label:
        with pytest.raises(WeightsError, match="were saved with the labels"):
            spacy.load(tmp_path)
    else:  # only cfg is of the save before, and it has not changed
        assert predict(spacy.load(tmp_path)) == predict(nlp)


# Labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["", None, 3])
def test_label_must_be_a_word(label):
    component = make_nlp().get_pipe(NAME)
    with pytest.raises(ValueError, match=f"a label must be a non-empty string, got {label!r}"):
        component.add_label(label)


def test_known_label_is_not_added_twice():
    component = make_trained().get_pipe(NAME)
    assert component.add_label("good") == 0
    assert component.labels == ("good", "bad")
    assert component.label_data == ["good", "bad"]


def test_empty_doc_is_scored_for_labels_added_after_training():
    nlp = make_trained()
    nlp.get_pipe(NAME).add_label("ugly")
    assert nlp("").cats.keys() == {"good", "bad", "ugly"}


def test_labels_added_after_training_are_saved(tmp_path):
    nlp = make_trained()
    nlp.get_pipe(NAME).add_label("ugly")
    nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == predict(nlp)


# Updating and rehearsing ----------------------------------------------------------------


def test_batch_of_empty_docs_trains_nothing():
    nlp = make_trained()
    before = predict(nlp)
    empty = [spacy.training.Example.from_dict(nlp.make_doc(""), {"cats": {"good": 1.0}})]
    assert nlp.update(empty, sgd=nlp.resume_training()) == {NAME: 0.0}
    assert predict(nlp) == before


def test_empty_doc_beside_others_changes_nothing_for_them():
    nlp = make_trained()
    alone = nlp("good nice film").cats
    beside = next(iter(nlp.pipe(["good nice film", ""]))).cats
    assert alone == pytest.approx(beside)
    assert sum(nlp("").cats.values()) == pytest.approx(1.0)


def test_module_that_was_never_built_says_what_to_call():
    with pytest.raises(RuntimeError, match=r"does not exist yet: call initialize\(\)"):
        make_nlp()("some text")


def test_accumulated_update_equals_one_of_the_whole_batch():
    whole, parts = make_with_labels(), make_with_labels()
    parts.get_pipe(NAME).model.from_bytes(whole.get_pipe(NAME).model.to_bytes())
    examples = make_examples(whole)
    whole.update(examples, sgd=whole.create_optimizer())
    for half in (examples[:3], examples[3:]):
        parts.update(half, sgd=False)
    parts.get_pipe(NAME).finish_update(parts.create_optimizer())
    ours = numpy.array([list(cats.values()) for cats in predict(parts)])
    expected = numpy.array([list(cats.values()) for cats in predict(whole)])
    numpy.testing.assert_allclose(ours, expected, atol=1e-6)


def test_rehearsal_pulls_back_to_what_was_known():
    nlp = make_trained()
    optimizer = nlp.resume_training()
    component, docs = nlp.get_pipe(NAME), [nlp.make_doc("good nice film")]
    remembered = component.predict(docs)
    with torch.no_grad():
        get_shim(component.logits_model).module.output.bias.add_(torch.tensor([-3.0, 3.0]))
    distances = [abs(component.predict(docs) - remembered).sum()]
    for _ in range(30):
        losses = nlp.rehearse(make_examples(nlp), sgd=optimizer)
        distances.append(abs(component.predict(docs) - remembered).sum())
    assert losses[NAME] > 0
    assert distances[-1] < distances[0]


def test_rehearsal_leaves_labels_added_since_alone():
    nlp = make_trained()
    optimizer = nlp.resume_training()
    nlp.get_pipe(NAME).add_label("ugly")
    assert nlp.rehearse(make_examples(nlp), sgd=optimizer)[NAME] == pytest.approx(0.0, abs=1e-9)


def test_rehearsal_goes_on_with_a_label_added_in_between():
    nlp = make_trained()
    optimizer, examples = nlp.resume_training(), make_examples(nlp)
    nlp.rehearse(examples, sgd=optimizer)
    nlp.get_pipe(NAME).add_label("ugly")
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)
        assert nlp.rehearse(examples, sgd=optimizer)[NAME] > 0


def test_rehearsal_without_a_memory_does_nothing():
    nlp = make_trained()
    before = predict(nlp)
    assert nlp.rehearse(make_examples(nlp), sgd=nlp.create_optimizer()) == {NAME: 0.0}
    assert predict(nlp) == before


def test_subclass_must_say_what_its_loss_is():
    nlp = make_trained()

    class Lossless(TorchPipe):
        pass

    component = Lossless(nlp.vocab, nlp.get_pipe(NAME).model, "mine")
    with pytest.raises(NotImplementedError, match="Lossless must implement compute_loss"):
        component.update(make_examples(nlp))


def test_settings_are_saved_as_json(tmp_path):
    make_trained(class_weights={"good": 2.0}).to_disk(tmp_path)
    cfg = json.loads((tmp_path / NAME / "cfg").read_text())
    assert cfg["labels"] == ["good", "bad"]
    assert cfg["class_weights"] == {"good": 2.0}


@pytest.mark.parametrize(
    "factory",
    ["torch_tagger", "torch_ner", "torch_parser", "torch_spancat", "torch_textcat"],
)
def test_single_text_is_no_list_of_labels(factory):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory)
    doc = nlp.make_doc("a b")
    with pytest.raises(ValueError, match=rf"'{factory}': labels must be a list of labels, got 'AB"):
        pipe.initialize(lambda: [Example(doc, doc)], labels="ABC")
    assert pipe.labels == ()
