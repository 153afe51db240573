"""A Thinc tok2vec in front of a torch module learns what it would learn in front of Thinc."""

from typing import Any

import numpy
import pytest
import spacy
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SGD, Linear, Model, chain, list2ragged, reduce_mean
from tiny_textcat import TEXTS, make_examples, predict, train

from spacy_torch.architectures.from_tok2vec import build_from_tok2vec
from spacy_torch.architectures.text_classifier import build_text_classifier
from spacy_torch.architectures.tok2vec import build_tok2vec
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.runtime import Runtime

N_LABELS = 3
SHAPE = {
    "width": 8,
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}
nlp = spacy.blank("en")


def make_docs(*texts: str) -> list[Doc]:
    return [nlp.make_doc(text) for text in texts]


def copy_params(source: Model[Any, Any], target: Model[Any, Any]) -> None:
    for node, twin in zip(source.walk(), target.walk(), strict=True):
        for name in node.param_names:
            if node.has_param(name):
                twin.set_param(name, node.get_param(name).copy())


def params(model: Model[Any, Any]) -> list[numpy.ndarray]:
    return [
        node.get_param(name).copy()
        for node in model.walk()
        for name in node.param_names
        if node.has_param(name)
    ]


def build_pair(**runtime: Any) -> tuple[Model[Any, Any], Model[Any, Any], list[Model[Any, Any]]]:
    """The same classifier twice, in torch and in Thinc, and the tok2vec of each."""
    tok2vec, twin_tok2vec = (build_hash_embed_cnn_tok2vec(**SHAPE) for _ in range(2))
    ours = build_text_classifier(
        build_from_tok2vec(tok2vec),
        exclusive_classes=False,
        runtime=Runtime(device="cpu", **runtime),
    )
    ours.initialize(X=make_docs("a b"), Y=numpy.zeros((1, N_LABELS), dtype="f"))
    output = Linear(N_LABELS, 8)
    thincs = chain(twin_tok2vec, list2ragged(), reduce_mean(), output)
    thincs.initialize(X=make_docs("a b"))
    copy_params(tok2vec, twin_tok2vec)
    # Not zeros, as our linear layer has at first: they let no gradient through.
    module = get_shim(ours.get_ref("logits")).module
    module.output.weight.data.normal_()
    output.set_param("W", module.output.weight.detach().numpy().copy())
    return ours, thincs, [tok2vec, twin_tok2vec]


@pytest.mark.parametrize(
    "texts", [["one", "two words", "and three words"], ["one", "", "some more"], ["one"]]
)
def test_upstream_gradients_are_those_of_pure_thinc(texts):
    ours, thincs, tok2vecs = build_pair()
    docs = make_docs(*texts)
    gradient = numpy.random.normal(size=(len(docs), N_LABELS)).astype("f")
    logits, backprop = ours.get_ref("logits").begin_update(docs)
    expected, backprop_thincs = thincs.begin_update(docs)
    numpy.testing.assert_allclose(logits, expected, atol=1e-6)
    backprop(gradient)
    backprop_thincs(gradient)
    before = params(tok2vecs[0])
    for model in (ours, thincs):
        model.finish_update(SGD(0.1, grad_clip=0.0))
    for found, wanted in zip(params(tok2vecs[0]), params(tok2vecs[1]), strict=True):
        numpy.testing.assert_allclose(found, wanted, atol=1e-6)
    assert any(not (a == b).all() for a, b in zip(before, params(tok2vecs[0]), strict=True))
    numpy.testing.assert_allclose(
        ours.get_ref("logits").predict(docs), thincs.predict(docs), atol=1e-5
    )


def test_loss_scale_of_fp16_does_not_reach_the_upstream_layers():
    ours, thincs, tok2vecs = build_pair(precision="fp16", loss_scale=256)
    docs = make_docs("one", "two words")
    gradient = numpy.ones((2, N_LABELS), dtype="f")
    for model in (ours.get_ref("logits"), thincs):
        _, backprop = model.begin_update(docs)
        backprop(gradient)
        model.finish_update(SGD(0.1, grad_clip=0.0))
    for found, wanted in zip(params(tok2vecs[0]), params(tok2vecs[1]), strict=True):
        numpy.testing.assert_allclose(found, wanted, atol=5e-3)


def test_docs_without_tokens_pass():
    ours, _, _ = build_pair()
    for docs in (make_docs(""), make_docs("", ""), make_docs("", "one")):
        assert ours.predict(docs).shape == (len(docs), N_LABELS)


def test_tok2vec_passes_vectors_and_gradients_through():
    stock = build_hash_embed_cnn_tok2vec(**SHAPE)
    model = build_tok2vec(build_from_tok2vec(stock))
    docs = make_docs("one", "", "two words")
    model.initialize(X=docs)
    vectors, backprop = model.begin_update(docs)
    expected, backprop_stock = stock.begin_update(docs)
    assert [rows.shape for rows in vectors] == [(1, 8), (0, 8), (2, 8)]
    for found, wanted in zip(vectors, expected, strict=True):
        numpy.testing.assert_allclose(found, wanted)
    d_vectors = [numpy.ones_like(rows) for rows in vectors]
    backprop(d_vectors)
    passed = [gradient.copy() for _, gradient in stock.get_gradients().values()]
    backprop_stock(d_vectors)  # adds the same again
    for once, twice in zip(passed, stock.get_gradients().values(), strict=True):
        numpy.testing.assert_allclose(2 * once, twice[1], atol=1e-5)


def test_listener_trains_the_shared_tok2vec():
    pipeline = spacy.blank("en")
    pipeline.add_pipe("tok2vec", config={"model": {"width": 32, "depth": 1, "embed_size": 200}})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": listener}
    model = {"@architectures": "spacy-torch.TextCat.v1", "encoder": encoder}
    pipeline.add_pipe("torch_textcat", config={"model": {**model, "exclusive_classes": True}})
    examples = make_examples(pipeline)
    pipeline.initialize(lambda: examples)
    tok2vec = pipeline.get_pipe("tok2vec").model
    before = params(tok2vec)
    train(pipeline, steps=40)
    assert any(not (a == b).all() for a, b in zip(before, params(tok2vec), strict=True))
    for scores, true in zip(predict(pipeline), TEXTS.values(), strict=True):
        assert max(scores, key=scores.get) == true
    loaded = spacy.blank("en").from_config(pipeline.config).from_bytes(pipeline.to_bytes())
    assert predict(loaded) == predict(pipeline)


@pytest.mark.parametrize("shared", ["spacy.HashEmbedCNN.v2", "spacy-torch.Tok2Vec.v1"])
def test_token_heads_that_listen_train_one_tok2vec_of_either_kind(shared, tmp_path):
    pipeline = spacy.blank("en")
    model = {"@architectures": shared, **SHAPE}
    if shared == "spacy-torch.Tok2Vec.v1":
        sizes = {"width": 8, "depth": 1, "attrs": ["NORM"], "rows": [50]}
        encoder = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", **sizes}
        model = {"@architectures": shared, "encoder": encoder}
    pipeline.add_pipe("tok2vec", config={"model": model})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": listener}
    head = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    for name in ("first", "second"):
        pipeline.add_pipe("torch_tagger", name=name, config={"model": head, "overwrite": True})
    examples = [
        Example.from_dict(pipeline.make_doc(text), {"tags": tags.split()})
        for text, tags in {"can fish": "MD VB", "a fish can": "DT NN NN", "": ""}.items()
    ]
    optimizer = pipeline.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    before = pipeline.get_pipe("tok2vec").predict([pipeline.make_doc("a fish")])[0].copy()
    for _ in range(60):
        pipeline.update(examples, sgd=optimizer)
    after = pipeline.get_pipe("tok2vec").predict([pipeline.make_doc("a fish")])[0]
    assert not numpy.allclose(before, after)
    pipeline.to_disk(tmp_path)
    for nlp_ in (pipeline, spacy.load(tmp_path)):
        for last in ("first", "second"):
            with nlp_.select_pipes(enable=["tok2vec", last]):
                assert nlp_.evaluate(examples)["tag_acc"] == 1.0
