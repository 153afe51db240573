"""What every registered encoder does, whatever reads its vectors.

A new encoder needs an entry in `SMALL`, and nothing else here.
"""

import inspect
from importlib.metadata import distribution
from typing import Any

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from tiny_transformer import make_transformer

from spacy_torch.bridge.model import find_shims
from spacy_torch.registry import encoders

NAMES = sorted(
    point.name
    for point in distribution("spacy-torch").entry_points
    if point.group == "torch_encoders"
    # Those of images have a contract of their own, in test_image_encoders.py.
    and inspect.signature(encoders.get(point.name)).return_annotation == "Encoder"
)
# For each encoder a shape that is small enough to train in a test.
SMALL: dict[str, dict[str, Any]] = {
    "spacy-torch.HashEmbedCNN.v1": {"width": 16, "depth": 1, "attrs": ["NORM"], "rows": [200]},
    "spacy-torch.BiLSTM.v1": {
        "width": 16,
        "depth": 1,
        "embed_width": 8,
        "attrs": ["NORM"],
        "rows": [200],
    },
    "spacy-torch.HFTransformer.v1": {"name": "TINY_TRANSFORMER", "width": 16},
    "spacy-torch.CharacterCNN.v1": {
        "width": 16,
        "depth": 1,
        "attrs": ["SHAPE"],
        "rows": [20],
        "character_rows": 128,
        "character_width": 8,
    },
    "spacy-torch.TransformerEncoder.v1": {
        "width": 16,
        "depth": 1,
        "n_heads": 2,
        "feed_forward_width": 32,
        "attrs": ["NORM"],
        "rows": [200],
    },
    "spacy-torch.FromTok2Vec.v1": {
        "tok2vec": {
            "@architectures": "spacy.HashEmbedCNN.v2",
            "width": 16,
            "depth": 1,
            "embed_size": 200,
            "window_size": 1,
            "maxout_pieces": 2,
            "subword_features": False,
            "pretrained_vectors": None,
        }
    },
}
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 16},
}
# The order of the words matters, so that an encoder must look at neighbours.
SENTENCES = {"she can fish": "PRP MD VB", "a fish can swim": "DT NN MD VB", "fish": "NN"}


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_transformer(tmp_path_factory.mktemp("transformer")))


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest) -> dict[str, Any]:
    assert request.param in SMALL, f"{request.param} is registered, but not tested here"
    settings = dict(SMALL[request.param])
    if settings.get("name") == "TINY_TRANSFORMER":
        settings["name"] = request.getfixturevalue("transformer")
    return {"@torch_encoders": request.param, **settings}


def make_tagger(encoder: dict[str, Any]) -> Language:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": model})
    return nlp


def make_shared(encoder: dict[str, Any], *factories: str) -> Language:
    """One tok2vec in torch, and stock components that listen to it."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": encoder}
    nlp.add_pipe("tok2vec", config={"model": model})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    for factory in factories:
        head = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
        nlp.add_pipe(factory, config={"model": head})
    return nlp


def make_examples(nlp: Language) -> list[Example]:
    return [
        Example.from_dict(nlp.make_doc(text), {"tags": tags.split()})
        for text, tags in SENTENCES.items()
    ]


def train(nlp: Language, *, steps: int = 80) -> None:
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def vectors(nlp: Language, texts: list[str]) -> list[numpy.ndarray]:
    found = nlp.get_pipe("torch_tagger").probabilities([nlp.make_doc(text) for text in texts])
    return [each.values for each in found]


def test_encoder_learns_by_heart_and_comes_back_from_disk(encoder, tmp_path):
    nlp = make_tagger(encoder)
    train(nlp)
    assert nlp.evaluate(make_examples(nlp))["tag_acc"] == 1.0
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for found, expected in zip(
        vectors(loaded, list(SENTENCES)), vectors(nlp, list(SENTENCES)), strict=True
    ):
        numpy.testing.assert_array_equal(found, expected)


def test_neighbours_in_a_batch_change_nothing(encoder):
    nlp = make_tagger(encoder)
    train(nlp, steps=5)
    texts = ["", *SENTENCES, "", " "]
    together = vectors(nlp, texts)
    for text, expected in zip(texts, together, strict=True):
        (alone,) = vectors(nlp, [text])
        numpy.testing.assert_allclose(alone, expected, atol=1e-5)
    assert [len(rows) for rows in vectors(nlp, ["", ""])] == [0, 0]
    assert vectors(nlp, []) == []


def test_documents_without_tokens_train_along(encoder):
    nlp = make_tagger(encoder)
    train(nlp, steps=1)
    empty = Example.from_dict(nlp.make_doc(""), {})
    optimizer = nlp.create_optimizer()
    nlp.update([empty, *make_examples(nlp), empty], sgd=optimizer)
    assert nlp.update([empty], sgd=optimizer) == {"torch_tagger": 0.0}


def test_stock_components_share_it_and_learn_by_plain_updates(encoder):
    # nlp.update steps the tok2vec between its forward pass and the listeners' gradients.
    nlp = make_shared(encoder, "tagger", "senter")
    examples = [
        Example.from_dict(
            eg.predicted,
            {
                "tags": [t.tag_ for t in eg.reference],
                "sent_starts": [1] + [-1] * (len(eg.reference) - 1),
            },
        )
        for eg in make_examples(nlp)
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(80):
        nlp.update(examples, sgd=optimizer)
    scores = nlp.evaluate(examples)
    assert (scores["tag_acc"], scores["sents_f"]) == (1.0, 1.0)


def test_a_listener_without_gold_costs_no_step(encoder):
    nlp = make_shared(encoder, "tagger")
    nlp.add_pipe("ner", config={"model": NER})
    tagged = make_examples(nlp)
    full = [
        Example.from_dict(
            eg.predicted,
            {"tags": [t.tag_ for t in eg.reference], "entities": ["U-X"] * len(eg.reference)},
        )
        for eg in tagged
    ]
    optimizer = nlp.initialize(lambda: full)
    shims = find_shims(nlp.get_pipe("tok2vec").model)
    # What `spacy train` does: the gradients of sub-batches, then one step of each component.
    nlp.update(full, sgd=False)
    nlp.update(tagged, sgd=False)  # ner, the last to listen, has nothing to learn here
    for _, component in nlp.pipeline:
        component.finish_update(optimizer)
    nlp("fish")
    learn = [any(True for _ in shim.module.parameters()) for shim in shims]
    assert [shim.steps for shim in shims] == [int(it_learns) for it_learns in learn]


def test_every_entry_is_of_a_registered_encoder():
    assert sorted(SMALL) == NAMES
    assert all(callable(encoders.get(name)) for name in NAMES)
