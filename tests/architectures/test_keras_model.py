"""A Keras model trains, is saved, loaded, copied and sent to other processes like any module."""

import copy
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

os.environ.setdefault("KERAS_BACKEND", "torch")  # before the first import

import keras
from keras_pipeline import make_model, make_nothing, make_unbuilt, number_words
from tiny_textcat import TEXTS, make_examples, predict

from spacy_torch.architectures.keras_model import (
    KerasModule,
    build_keras,
    import_keras,
)
from spacy_torch.bridge.model import get_shim

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@spacy.registry.architectures("tests.Keras.v1")
def build_model(exclusive_classes: bool = True):
    return build_keras(make_model, number_words, exclusive_classes=exclusive_classes)


def make_nlp() -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_textcat", config={"model": {"@architectures": "tests.Keras.v1"}})
    return nlp


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = make_nlp()
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(60):
        nlp.update(examples, sgd=optimizer, drop=0.1)
    return nlp


def module_of(nlp: Language) -> KerasModule:
    module = get_shim(nlp.get_pipe("torch_textcat").logits_model).module
    assert isinstance(module, KerasModule)
    return module


def test_keras_model_learns_its_examples(nlp):
    assert [max(scores, key=scores.__getitem__) for scores in predict(nlp)] == [*TEXTS.values()]
    statistics = [v.value for v in module_of(nlp).model.non_trainable_variables]
    assert statistics[0].any()  # of the batch normalization


def test_prediction_is_that_of_keras_and_changes_nothing(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    module = module_of(nlp)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    expected = keras.ops.softmax(module.model(number_words(docs), training=False))
    found = torch.from_numpy(nlp.get_pipe("torch_textcat").predict(docs))
    torch.testing.assert_close(found, expected.detach())
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_pipeline_comes_back_from_disk_and_bytes_and_trains_on(nlp, tmp_path):
    expected = predict(nlp)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert predict(loaded) == expected
    assert predict(make_nlp().from_bytes(nlp.to_bytes())) == expected
    examples = make_examples(loaded)
    loaded.update(examples, sgd=loaded.resume_training())
    assert predict(loaded) != expected


def test_component_comes_back_from_a_pickle_and_a_copy(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    component = nlp.get_pipe("torch_textcat")
    expected = component.predict(docs)
    copied = pickle.loads(pickle.dumps(component))
    assert (copied.predict(docs) == expected).all()
    module = module_of(nlp)
    numbers = torch.from_numpy(number_words(docs))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert [*other.state_dict()] == [*module.state_dict()]
        assert torch.equal(other(numbers), module(numbers))
        other.model.variables[0].value.data.zero_()
        assert not torch.equal(other(numbers), module(numbers))


def test_documents_without_tokens_and_batches_change_nothing(nlp):
    expected = predict(nlp)
    found = [dict(doc.cats) for doc in nlp.pipe(["", *TEXTS, ""], batch_size=2)]
    for left, right in zip(found[1:-1], expected, strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    assert found[0] == found[-1] == {"good": 0.5, "bad": 0.5}


def test_names_do_not_depend_on_what_was_built_before(nlp):
    again = KerasModule(partial(make_model, n_labels=2))
    assert [*again.state_dict()] == [*module_of(nlp).state_dict()]
    assert "0_embeddings" in again.state_dict()
    trained = {name for name, p in again.named_parameters() if p.requires_grad}
    assert len(trained) == len(again.model.trainable_variables)
    assert {name.partition("_")[2] for name, _ in again.named_buffers()} == {
        "moving_mean",
        "moving_variance",
    }


def test_moving_to_another_type_moves_what_keras_holds():
    module = KerasModule(partial(make_model, n_labels=2)).double()
    assert {v.value.dtype for v in module.model.trainable_variables} == {torch.float64}
    assert all(
        v.value is t
        for v, t in zip(module.model.trainable_variables, _learned(module), strict=True)
    )


def _learned(module: KerasModule) -> list[Any]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def test_models_that_cannot_be_used_are_named():
    with pytest.raises(TypeError, match="model must be a function with the keyword n_labels"):
        build_keras(number_words, number_words, exclusive_classes=True)
    with pytest.raises(TypeError, match="model must return a keras.Model, got NoneType"):
        KerasModule(partial(make_nothing, n_labels=2))
    with pytest.raises(ValueError, match="has no variables yet: begin it with a keras.Input"):
        KerasModule(partial(make_unbuilt, n_labels=2))


def test_keras_on_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="torch backend, but it was imported with 'jax': set"):
        import_keras()


def test_missing_keras_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"needs the package 'keras'.*spacy-torch\[keras\]"):
        import_keras()


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:3]
import spacy, test_keras_model
import keras_pipeline
nlp = spacy.load(sys.argv[3])
from tiny_textcat import TEXTS
if __name__ == "__main__":
    print([dict(doc.cats) for doc in nlp.pipe(TEXTS, n_process=2, batch_size=3)])
"""


@pytest.mark.slow
def test_two_processes_annotate_like_one(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    here = Path(__file__).parent
    arguments = [str(here), str(here.parent), str(tmp_path / "pipeline")]
    result = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = eval(result.stdout)
    for left, right in zip(found, predict(nlp), strict=True):
        assert left == pytest.approx(right, abs=1e-5)


def test_backend_is_chosen_where_nobody_has_imported_keras(tmp_path):
    code = (
        "import os, sys; os.environ.pop('KERAS_BACKEND', None)\n"
        "import spacy_torch.architectures.keras_model as ours\n"
        "assert 'keras' not in sys.modules and 'KERAS_BACKEND' not in os.environ\n"
        "assert ours.import_keras().config.backend() == 'torch'\n"
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
