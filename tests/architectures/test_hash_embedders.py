"""What all encoders with hash embeddings can be told, and the characters of the BiLSTM."""

import inspect

import numpy
import pytest
import spacy
import torch

from spacy_torch.architectures.bilstm import build_bilstm
from spacy_torch.architectures.tok2vec import build_tok2vec
from spacy_torch.bridge.model import get_shim
from spacy_torch.registry import encoders

NAMES = sorted(
    name
    for name, build in encoders.get_all().items()
    if name.startswith("spacy-torch.") and "rows" in inspect.signature(build).parameters
)


def make_module(model, texts):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in texts]
    model.initialize(X=docs)
    return get_shim(model.get_ref("logits") if model.has_ref("logits") else model).module, docs


@pytest.mark.parametrize("name", NAMES)
def test_word_dropout_reaches_the_embeddings(name):
    model = build_tok2vec(encoders.get(name)(word_dropout=0.25))
    module, _ = make_module(model, ["a cow"])
    assert module.embed.word_dropout == 0.25


def test_there_are_encoders_to_try():
    assert len(NAMES) >= 4


def test_bilstm_with_a_character_width_tells_words_of_the_same_attributes_apart():
    encoder = {"width": 8, "depth": 1, "embed_width": 4, "attrs": ["SHAPE"], "rows": [20]}
    for character_width, is_same in ((0, True), (4, False)):
        model = build_tok2vec(build_bilstm(**encoder, character_width=character_width))
        module, docs = make_module(model, ["cow", "dog", ""])
        assert (module.embed.characters is None) is is_same
        cow, dog, nothing = model.predict(docs)
        assert numpy.allclose(cow, dog) is is_same
        assert nothing.shape == (0, 8)


def test_dropped_words_of_the_first_attribute_only_are_hidden_while_training():
    torch.manual_seed(0)
    encoder = {"width": 8, "depth": 1, "attrs": ["LOWER", "SHAPE"], "rows": [50, 20]}
    model = build_tok2vec(
        encoders.get("spacy-torch.HashEmbedCNN.v1")(**encoder, dropout=0.0, word_dropout=0.5)
    )
    _, docs = make_module(model, ["cow dog eat run see"])
    first, again = (model(docs, is_train=True)[0][0] for _ in range(2))
    assert not numpy.allclose(first, again)
    numpy.testing.assert_array_equal(model.predict(docs)[0], model.predict(docs)[0])
