"""`torch_textcat` with a model that learns each answer at once, on vectors of a frozen encoder."""

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example
from tiny_transformer import WIDTH, make_transformer
from transformers import AutoModel, AutoTokenizer

from spacy_torch.bridge.model import get_shim
from spacy_torch.nn.fast.logistic import LogisticRegression
from spacy_torch.nn.fast.regression import RidgeRegression

TRAIN = [("a fish can swim", "A"), ("she can swim", "B"), ("a fish", "A"), ("she", "B")]
CNN = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_transformer(tmp_path_factory.mktemp("transformer")))


def transformer(folder, **settings):
    name = "spacy-torch.HFTransformer.v1"
    return {"@torch_encoders": name, "name": folder, "width": WIDTH, "freeze": True, **settings}


def make_pipeline(encoder, **settings):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True}
    textcat = nlp.add_pipe(
        "torch_textcat", config={"model": {**model, "encoder": encoder, **settings}}
    )
    examples = [
        Example.from_dict(
            nlp.make_doc(text), {"cats": {"A": float(label == "A"), "B": float(label == "B")}}
        )
        for text, label in TRAIN
    ]
    textcat.initialize(lambda: examples, nlp=nlp)
    return nlp, textcat, examples


def read(nlp, texts=("a fish", "she can", "can", "")):
    return [doc.cats for doc in nlp.pipe(texts)]


def test_rows_are_the_mean_vectors_of_the_transformer(folder):
    nlp, textcat, _ = make_pipeline(transformer(folder))
    found = textcat.vectors([nlp.make_doc("a fish can swim"), nlp.make_doc("")])
    tokenizer, module = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        states = module(**tokenizer("a fish can swim", return_tensors="pt")).last_hidden_state
    mean = states[0, 1:-1].mean(0).numpy()  # without the special pieces
    assert np.asarray(found)[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert not np.asarray(found)[1].any()


def test_one_update_is_enough_and_is_saved_without_the_folder(folder, tmp_path):
    nlp, textcat, examples = make_pipeline(transformer(folder))
    assert {value for cats in read(nlp) for value in cats.values()} == {0.5}
    nlp.update(examples)
    for text, label in TRAIN:
        assert nlp(text).cats[label] > 0.5
    nlp.to_disk(tmp_path)
    assert read(spacy.load(tmp_path)) == read(nlp)
    textcat.forget([eg.predicted for eg in examples])
    assert {value for cats in read(nlp) for value in cats.values()} == {0.5}


@pytest.mark.parametrize(
    ("exclusive", "encoded", "expected"),
    [
        (True, True, LogisticRegression),
        (True, False, RidgeRegression),
        (False, True, RidgeRegression),
    ],
)
def test_exclusive_labels_are_learned_from_encoded_texts_by_logistic_regression(
    folder, exclusive, encoded, expected
):
    config = {
        "@architectures": "spacy-torch.FastTextCat.v1",
        "exclusive_classes": exclusive,
        "encoder": transformer(folder) if encoded else None,
    }
    factory = "torch_textcat" if exclusive else "torch_textcat_multilabel"
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe(factory, config={"model": config})
    example = Example.from_dict(nlp.make_doc("a fish"), {"cats": {"A": 1.0, "B": 0.0}})
    textcat.initialize(lambda: [example])
    assert type(get_shim(textcat.logits_model).module.regression) is expected


def test_a_text_is_encoded_once(folder):
    for cache_mb, n_encoded in ((1.0, [3, 1]), (0.0, [3, 3])):
        nlp, textcat, _ = make_pipeline(transformer(folder), cache_mb=cache_mb)
        features = get_shim(textcat.logits_model).module.features
        seen = []
        features.encoder.register_forward_hook(
            lambda *call, seen=seen: seen.append(call[2].lengths)
        )
        for texts in (["a fish", "she", "can"], ["she", "a fish", "swim"]):
            list(nlp.pipe(texts))
        assert [len(lengths) for lengths in seen] == n_encoded


def test_the_slow_part_learns_beside_it(folder):
    slow = {"@architectures": "spacy-torch.TextCat.v1", "exclusive_classes": True, "encoder": CNN}
    nlp, textcat, examples = make_pipeline(transformer(folder), slow=slow)
    optimizer = nlp.resume_training()
    losses = [nlp.update(examples, sgd=optimizer)["torch_textcat"] for _ in range(20)]
    assert losses[-1] < losses[0]
    features = get_shim(textcat.logits_model).module.fast.features
    assert not features.encoder.training
    assert not any(one.requires_grad for one in features.parameters())


def test_both_parts_may_read_the_same_transformer_but_not_two(folder, tmp_path):
    slow = {"@architectures": "spacy-torch.TextCat.v1", "exclusive_classes": True}
    nlp, _, examples = make_pipeline(
        transformer(folder), slow={**slow, "encoder": transformer(folder, freeze=False)}
    )
    nlp.update(examples)
    other = str(make_transformer(tmp_path, num_hidden_layers=1))
    with pytest.raises(ValueError, match=r"disagree about \['transformer'\], which they share"):
        make_pipeline(transformer(folder), slow={**slow, "encoder": transformer(other)})


def test_an_encoder_that_learns_is_refused(folder):
    with pytest.raises(ValueError, match="must be frozen, .* parameters learn by gradient, 'tr"):
        make_pipeline(transformer(folder, freeze=False))
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1}
    more = {"embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    tok2vec = {**tok2vec, **more, "pretrained_vectors": None}
    with pytest.raises(ValueError, match="reads the Thinc tok2vec .*, which learns"):
        make_pipeline({"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": tok2vec})
