"""A tiny BERT under our components and spaCy's, and shipped inside the pipeline."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from typing import Any

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from tiny_transformer import MAX_PIECES, WIDTH, make_transformer
from transformers import AutoModel, AutoTokenizer

from spacy_torch.architectures.hf_transformer import build_hf_transformer
from spacy_torch.architectures.tok2vec import build_tok2vec
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.runtime import Runtime

NLP = spacy.blank("en")
TEXT = "a fish can swim"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_transformer(tmp_path_factory.mktemp("transformer")))


def build(folder: str, **settings: Any):
    model = build_tok2vec(build_hf_transformer(name=folder, width=WIDTH, **settings))
    model.initialize(X=[NLP.make_doc(TEXT)])
    return model


def make_docs(*n_words: int) -> list[Doc]:
    words = ["a", "fish", "can", "swim", "she"]
    return [Doc(NLP.vocab, words=[words[i % 5] for i in range(n)]) for n in n_words]


def hidden_states(folder: str, text: str) -> list[numpy.ndarray]:
    """What transformers itself gives for a short text, without the special pieces."""
    tokenizer, module = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
    with torch.no_grad():
        states = module(**inputs, output_hidden_states=True).hidden_states
    return [state[0, 1:-1].numpy() for state in states]


def make_tagger(folder: str, **settings: Any) -> spacy.language.Language:
    nlp = spacy.blank("en")
    encoder = {"@torch_encoders": "spacy-torch.HFTransformer.v1", "name": folder, "width": WIDTH}
    model = {
        "@architectures": "spacy-torch.TokenClassifier.v1",
        "encoder": {**encoder, **settings},
    }
    nlp.add_pipe("torch_tagger", config={"model": model})
    tags = {"a": "DT", "fish": "NN", "can": "MD", "swim": "VB"}
    words = [token.text for token in nlp.make_doc(TEXT)]
    example = Example.from_dict(nlp.make_doc(TEXT), {"tags": [tags[word] for word in words]})
    optimizer = nlp.initialize(lambda: [example])
    optimizer.learn_rate = 0.01
    for _ in range(3):
        nlp.update([example], sgd=optimizer)
    return nlp


def scores(nlp: spacy.language.Language) -> numpy.ndarray:
    (found,) = nlp.get_pipe("torch_tagger").probabilities([nlp.make_doc("she can fish")])
    return found.values


def test_vectors_are_those_of_transformers(folder):
    (found,) = build(folder).predict([NLP.make_doc(TEXT)])
    numpy.testing.assert_allclose(found, hidden_states(folder, TEXT)[-1], atol=1e-5)


def test_token_is_the_mean_or_the_first_of_its_pieces_and_white_space_is_zeros(folder):
    doc = NLP.make_doc("she  swimming")  # she, white space, swim ##ming
    expected = hidden_states(folder, doc.text)[-1]
    for pooling, of_pieces in (("mean", expected[1:].mean(0)), ("first", expected[1])):
        (found,) = build(folder, pooling=pooling).predict([doc])
        wanted = numpy.stack([expected[0], numpy.zeros(WIDTH), of_pieces])
        numpy.testing.assert_allclose(found, wanted, atol=1e-5)


def test_one_layer_is_taken_and_several_start_as_their_mean(folder):
    states = hidden_states(folder, TEXT)
    for layers, expected in (([1], states[1]), ([0, -1], (states[0] + states[2]) / 2)):
        (found,) = build(folder, layers=layers).predict([NLP.make_doc(TEXT)])
        numpy.testing.assert_allclose(found, expected, atol=1e-5)


def test_layer_mix_learns_its_weights(folder):
    model = build(folder, layers=[0, -1], freeze=True)
    vectors, backprop = model.begin_update([NLP.make_doc(TEXT)])
    backprop([numpy.ones_like(rows) for rows in vectors])
    gradients = {
        name: parameter.grad
        for name, parameter in get_shim(model).module.named_parameters()
        if parameter.grad is not None
    }
    assert sorted(gradients) == ["mix.scale", "mix.weights"]
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("budget", [1, 30, 1000])
def test_sub_batches_change_no_vector(folder, budget):
    docs = make_docs(3, 0, 10, 11, 1, 100, 4)
    expected = [build(folder).predict([doc])[0] for doc in docs]
    for found, wanted in zip(
        build(folder, batch_pieces=budget).predict(docs), expected, strict=True
    ):
        numpy.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("n_words", [0, 1, MAX_PIECES - 2, MAX_PIECES - 1, 10 * MAX_PIECES])
def test_text_of_any_length_has_a_vector_per_token(folder, n_words):
    (found,) = build(folder).predict(make_docs(n_words))
    assert found.shape == (n_words, WIDTH)
    assert not n_words or (numpy.abs(found).sum(1) > 0).all()


def test_long_text_is_read_through_windows(folder):
    # Window of 10 words, 2 in common: 0-9, 8-17, 15-24; borders at 9 and at (15 + 18) // 2.
    (doc,) = make_docs(25)
    model = build(folder)
    (found,) = model.predict([doc])
    words = [token.text for token in doc]
    for start, stop, own in ((0, 10, (0, 9)), (8, 18, (9, 16)), (15, 25, (16, 25))):
        (part,) = model.predict([Doc(NLP.vocab, words=words[start:stop])])
        numpy.testing.assert_allclose(
            found[slice(*own)], part[own[0] - start : own[1] - start], atol=1e-5
        )


def test_window_may_be_smaller_than_the_model_allows(folder):
    (doc,) = make_docs(9)
    assert not numpy.allclose(
        build(folder, window=5).predict([doc])[0], build(folder).predict([doc])[0]
    )


def test_pipeline_needs_nothing_but_itself(folder, tmp_path):
    # spacy.load, from_bytes and pickle in a process that has no such folder and no network.
    gone = shutil.copytree(folder, tmp_path / "gone")
    nlp = make_tagger(str(gone))
    shutil.rmtree(gone)
    nlp.to_disk(tmp_path / "nlp")
    (tmp_path / "nlp.bytes").write_bytes(nlp.to_bytes())
    (tmp_path / "nlp.pickle").write_bytes(pickle.dumps(nlp.get_pipe("torch_tagger").model))
    (tmp_path / "config.json").write_text(json.dumps(nlp.config))
    code = """
import json, pickle, socket, sys
from pathlib import Path
import spacy

def refuse(*args, **kwargs):
    raise OSError("there is no network in this test")

socket.socket.connect = socket.getaddrinfo = refuse
path = Path(sys.argv[1])
loaded = spacy.load(path / "nlp")
from_bytes = spacy.blank("en").from_config(json.loads((path / "config.json").read_text()))
from_bytes.from_bytes((path / "nlp.bytes").read_bytes())
unpickled = pickle.loads((path / "nlp.pickle").read_bytes())
doc = loaded.make_doc("she can fish")
print(json.dumps([
    loaded.get_pipe("torch_tagger").probabilities([doc])[0].values.tolist(),
    from_bytes.get_pipe("torch_tagger").probabilities([doc])[0].values.tolist(),
    unpickled.predict([doc])[0].tolist(),
]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for found in json.loads(result.stdout):
        numpy.testing.assert_allclose(found, scores(nlp), atol=1e-6)


def test_label_added_later_needs_no_folder(folder, tmp_path):
    gone = shutil.copytree(folder, tmp_path / "gone")
    nlp = make_tagger(str(gone))
    shutil.rmtree(gone)
    before = scores(nlp)
    nlp.get_pipe("torch_tagger").add_label("NEW")
    # The others keep their order and their proportions.
    after = scores(nlp)[:, : before.shape[1]]
    numpy.testing.assert_allclose(after / after.sum(1, keepdims=True), before, atol=1e-5)


def test_copy_has_weights_and_tokenizer_of_its_own(folder):
    model = build(folder)
    (expected,) = model.predict(make_docs(4))
    for copied in (model.copy(), copy.deepcopy(model)):
        with torch.no_grad():
            for parameter in get_shim(copied).module.parameters():
                parameter.zero_()
        get_shim(copied).module.pieces.tokenizer_json.zero_()
        numpy.testing.assert_array_equal(model.predict(make_docs(4))[0], expected)
        copied.from_bytes(model.to_bytes())
        numpy.testing.assert_array_equal(copied.predict(make_docs(4))[0], expected)


def test_dropout_follows_training_or_keeps_its_rate(folder):
    def rates(model):
        layers = get_shim(model).module.modules()
        return {layer.p for layer in layers if isinstance(layer, torch.nn.Dropout)}

    following, pinned = build(folder), build(folder, dropout=0.25)
    for model in (following, pinned):
        model.attrs["dropout_rate"] = 0.5
        model.begin_update([NLP.make_doc(TEXT)])
    assert (rates(following), rates(pinned)) == ({0.5}, {0.25})


def test_frozen_transformer_keeps_its_weights_and_drops_nothing(folder):
    nlp = make_tagger(folder, freeze=True, dropout=0.5)
    shim = get_shim(nlp.get_pipe("torch_tagger").logits_model)
    expected = AutoModel.from_pretrained(folder).state_dict()
    for name, tensor in shim.module.encoder.transformer.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    doc = nlp.make_doc(TEXT)
    shim.module.train()
    assert not shim.module.encoder.transformer.training
    trained = shim.module.encoder(
        nlp.get_pipe("torch_tagger").logits_model.attrs["featurize"]([doc])
    )
    assert not trained.values.requires_grad
    shim.module.eval()
    (predicted,) = build(folder).predict([doc])
    numpy.testing.assert_allclose(trained.values.numpy(), predicted, atol=1e-6)


def test_checkpointing_changes_no_gradient(folder):
    gradients = []
    for checkpointing in (False, True):
        model = build(folder, checkpointing=checkpointing)
        vectors, backprop = model.begin_update(make_docs(3, 25))
        backprop([numpy.ones_like(rows) for rows in vectors])
        parameters = get_shim(model).module.named_parameters()
        gradients.append({name: p.grad for name, p in parameters if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4)


def test_nothing_is_left_on_the_doc(folder):
    nlp = make_tagger(folder)
    doc = nlp(TEXT)
    assert (doc.user_data, doc.tensor.size) == ({}, 0)


def test_width_and_layers_and_window_are_held_against_the_model(folder):
    encoder = build_hf_transformer(name=folder, width=99, layers=[3], window=MAX_PIECES + 1)
    message = (
        rf"width must be {WIDTH}, the model's hidden_size, got 99; layers must be from -3 to 2, "
        rf"got \[3\]; window must be from 1 to {MAX_PIECES}, got {MAX_PIECES + 1}"
    )
    with pytest.raises(ValueError, match=message):
        build_tok2vec(encoder).initialize(X=[NLP.make_doc(TEXT)])


def test_no_layers_is_a_mistake(folder):
    with pytest.raises(ValueError, match="layers must name at least one hidden state"):
        build(folder, layers=[])


def test_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"model '.*nowhere' cannot be read: .*Give the path"):
        build(str(tmp_path / "nowhere"))


def test_missing_weights_are_not_made_up(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    message = r"lacks weights .*: encoder\.layer\.1\.output\.dense\.weight \(1 in all\)"
    with pytest.raises(ValueError, match=message):
        build(str(broken))


def test_slow_tokenizer_is_refused(folder, monkeypatch):
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.is_fast", False)
    with pytest.raises(ValueError, match="has only a slow tokenizer, .* choose a model with"):
        build(folder)


@pytest.mark.parametrize("package", ["transformers", "tokenizers"])
def test_missing_package_says_what_to_install(folder, package, monkeypatch):
    encoder = build_hf_transformer(name=folder, width=WIDTH)
    model = build(folder)
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'needs the package .{package}.*python -m pip install "spacy-torch\[transformers\]"'
    if package == "transformers":
        with pytest.raises(ImportError, match=message):
            build_tok2vec(encoder).initialize(X=[NLP.make_doc(TEXT)])
    copied = copy.deepcopy(model)
    with pytest.raises(ImportError, match=message):
        build_tok2vec(encoder).from_bytes(copied.to_bytes()).predict([NLP.make_doc(TEXT)])


def test_half_precision_runs_inside_and_gives_float32(folder):
    encoder = build_hf_transformer(name=folder, width=WIDTH)
    model = build_tok2vec(encoder, runtime=Runtime(device="cpu", precision="bf16"))
    model.initialize(X=[NLP.make_doc(TEXT)])
    (found,) = model.predict([NLP.make_doc(TEXT)])
    (expected,) = build(folder).predict([NLP.make_doc(TEXT)])
    assert found.dtype == "float32"
    assert not numpy.array_equal(found, expected)
    numpy.testing.assert_allclose(found, expected, atol=0.1)
