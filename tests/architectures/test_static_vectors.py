"""Static vectors under every encoder that can read them."""

import inspect
from typing import Any

import numpy
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.ml.staticvectors import StaticVectors
from spacy.training import Example
from spacy.vectors import Vectors

from spacy_torch.bridge.model import get_shim
from spacy_torch.registry import encoders

WIDTH, VECTOR_WIDTH = 16, 6
NAMES = sorted(
    name
    for name, build in encoders.get_all().items()
    if name.startswith("spacy-torch.") and "static_vectors" in inspect.signature(build).parameters
)
SIZES = {"width": WIDTH, "depth": 1, "n_heads": 2, "feed_forward_width": 16, "embed_width": 16}
# Of one shape, so that only the vectors tell them apart; the second word is never trained.
WORDS = {"NOUN": ("cow", "dog"), "VERB": ("eat", "run")}
TEXT = "dog eat unknown dog"


def make_encoder(name: str) -> dict[str, Any]:
    takes = inspect.signature(encoders.get(name)).parameters
    sizes = {size: value for size, value in SIZES.items() if size in takes}
    rows = {"attrs": ["SHAPE"], "rows": [20], "static_vectors": True}
    return {"@torch_encoders": name, **sizes, **rows}


def make_nlp(encoder: dict[str, Any], *, mode: str) -> Language:
    nlp = spacy.blank("en")
    rng = numpy.random.default_rng(0)
    if mode == "floret":
        data = rng.normal(size=(60, VECTOR_WIDTH)).astype("f")
        settings = {"minn": 2, "maxn": 3, "hash_count": 2, "bow": "<", "eow": ">"}
        nlp.vocab.vectors = Vectors(mode=mode, strings=nlp.vocab.strings, data=data, **settings)
    elif mode == "default":
        for words in WORDS.values():
            kind = rng.normal(size=VECTOR_WIDTH)
            for word in words:
                near = kind + 0.01 * rng.normal(size=VECTOR_WIDTH)
                nlp.vocab.set_vector(word, near.astype("f"))
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": model})
    return nlp


def train(nlp: Language, *, steps: int) -> None:
    examples = [
        Example.from_dict(nlp.make_doc(words[0]), {"tags": [tag]}) for tag, words in WORDS.items()
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


@pytest.mark.parametrize("mode", ["default", "floret"])
@pytest.mark.parametrize("name", NAMES)
def test_mapped_vectors_are_those_of_thinc(name, mode):
    nlp = make_nlp(make_encoder(name), mode=mode)
    train(nlp, steps=0)
    model = nlp.get_pipe("torch_tagger").logits_model
    embed = get_shim(model).module.encoder.embed
    docs = [nlp.make_doc(text) for text in (TEXT, "", "cow")]
    batch = model.attrs["featurize"](docs)
    actual = (batch.vectors @ embed.static)[batch.inverse]
    stock = StaticVectors(nO=embed.static.shape[1], nM=VECTOR_WIDTH, dropout=0.0)
    stock.initialize(X=docs)
    stock.set_param("W", embed.static.detach().T.numpy().copy())
    numpy.testing.assert_allclose(actual.detach(), stock.predict(docs).dataXd, atol=1e-6)
    assert torch.equal(batch.vectors[batch.inverse[2]], torch.zeros(6)) == (mode == "default")


@pytest.mark.parametrize("name", NAMES)
def test_word_never_trained_is_known_by_its_vector(name):
    nlp = make_nlp(make_encoder(name), mode="default")
    train(nlp, steps=40)
    assert [nlp(word)[0].tag_ for word in ("dog", "run")] == ["NOUN", "VERB"]


@pytest.mark.parametrize("mode", ["default", "floret"])
@pytest.mark.parametrize("name", NAMES)
def test_pipeline_with_vectors_comes_back_from_disk(name, mode, tmp_path):
    nlp = make_nlp(make_encoder(name), mode=mode)
    train(nlp, steps=40)
    assert [nlp(words[0])[0].tag_ for words in WORDS.values()] == list(WORDS)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    found, expected = (
        each.get_pipe("torch_tagger").probabilities([each.make_doc(TEXT)])[0].values
        for each in (loaded, nlp)
    )
    numpy.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_without_vectors_is_refused(name):
    nlp = make_nlp(make_encoder(name), mode="none")
    with pytest.raises(ValueError, match=r"has no vectors: name a pipeline .*\[initialize\] vec"):
        train(nlp, steps=0)
