import pickle

import numpy as np
import pytest
import spacy
import torch
from spacy.ml.models.tok2vec import (
    MaxoutWindowEncoder,
    MultiHashEmbed,
    build_hash_embed_cnn_tok2vec,
    build_Tok2Vec_model,
)
from spacy.vectors import Vectors

from spacy_torch.architectures.convert import copy_hash_embed_cnn
from spacy_torch.features.tokens import HashedTokens, vectors_width
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN

TEXTS = [
    "",
    "I am still waiting on my card, and my card is still not here!",
    "Hello",
    "Why?  The transfer of 200.50 EUR didn't arrive…",
    "",
    "to be or not to be or not to be",
    "zwei Wörter",
    "x",
]
STANDARD = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
EVERY = ["NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE", "ORTH", "LENGTH", "IS_ALPHA", "LIKE_NUM"]


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


@pytest.fixture
def nlp_with_vectors():
    nlp = spacy.blank("en")
    rng = np.random.default_rng(0)
    for word in ("card", "still", "be", "Hello", "arrive"):
        nlp.vocab.set_vector(word, rng.normal(size=6).astype("f"))
    return nlp


@pytest.fixture
def nlp_with_floret():
    nlp = spacy.blank("en")
    data = np.random.default_rng(0).normal(size=(40, 6)).astype("f")
    nlp.vocab.vectors = Vectors(
        mode="floret",
        strings=nlp.vocab.strings,
        data=data,
        minn=3,
        maxn=4,
        hash_count=2,
        bow="<",
        eow=">",
    )
    return nlp


def make_stock(docs, *, attrs, rows, width, depth, window, pieces, static_vectors):
    model = build_Tok2Vec_model(
        MultiHashEmbed(width, attrs, rows, static_vectors),
        MaxoutWindowEncoder(width, window, pieces, depth),
    )
    return randomize(model.initialize(docs))


def randomize(model):
    """Biases too: with zeros the padding between docs would stay zero."""
    rng = np.random.default_rng(0)
    for node in model.walk():
        for name in node.param_names:
            if name in ("b", "G"):
                noise = rng.normal(size=node.get_param(name).shape, scale=0.3)
                node.set_param(name, node.get_param(name) + noise.astype("f"))
    return model


def assert_same_function(stock, module, featurize, docs):
    """Hold vectors and the gradient of every parameter to the stock model's."""
    copy_hash_embed_cnn(stock, module)
    expected, backprop = stock.begin_update(docs)
    module.eval()
    with torch.no_grad():
        predicted = module(featurize(docs))
    module.train()
    vectors = module(featurize(docs))
    assert vectors.lengths.tolist() == [len(doc) for doc in docs]
    for actual in (predicted, vectors):
        np.testing.assert_allclose(
            actual.values.detach().numpy(), np.concatenate(expected), atol=1e-5
        )
    rng = np.random.default_rng(1)
    # As large as the gradient of a mean over the tokens.
    n_tokens = sum(map(len, docs))
    d_vectors = [rng.normal(size=y.shape).astype("f") / n_tokens for y in expected]
    backprop(d_vectors)
    vectors.values.backward(torch.from_numpy(np.concatenate(d_vectors)))
    # The stock gradients, laid out as ours by the same converter.
    gradients = stock.copy()
    for ours, theirs in zip(gradients.walk(), stock.walk(), strict=True):
        for name in theirs.param_names:
            ours.set_param(name, theirs.get_grad(name))
    actual = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    copy_hash_embed_cnn(gradients, module)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(
            actual[name],
            parameter.detach(),
            atol=1e-5,
            rtol=1e-5,
            msg=lambda m, n=name: f"{n}: {m}",
        )
        assert parameter.abs().sum() > 0, f"{name} has no gradient to compare"


def test_encoder_equals_the_stock_one_in_vectors_and_gradients(nlp):
    stock = build_hash_embed_cnn_tok2vec(
        width=96,
        depth=4,
        embed_size=2000,
        window_size=1,
        maxout_pieces=3,
        subword_features=True,
        pretrained_vectors=False,
    )
    docs = list(nlp.pipe(TEXTS))
    rows = [2000, 1000, 1000, 1000]
    assert_same_function(
        randomize(stock.initialize(docs)),
        HashEmbedCNN(rows=rows, width=96, depth=4),
        HashedTokens(STANDARD, rows),
        docs,
    )


@pytest.mark.parametrize(
    ("depth", "window", "pieces"), [(1, 1, 2), (2, 2, 3), (3, 1, 1), (5, 1, 2)]
)
def test_encoder_of_other_sizes_and_with_every_attribute_equals_the_stock_one(
    nlp, depth, window, pieces
):
    docs = list(nlp.pipe(TEXTS))
    rows = [50 + 7 * index for index in range(len(EVERY))]
    shape = {"width": 12, "depth": depth, "window": window, "pieces": pieces}
    stock = make_stock(docs, attrs=EVERY, rows=rows, static_vectors=False, **shape)
    assert_same_function(stock, HashEmbedCNN(rows=rows, **shape), HashedTokens(EVERY, rows), docs)


@pytest.mark.parametrize("pipeline", ["nlp_with_vectors", "nlp_with_floret"])
def test_encoder_with_static_vectors_equals_the_stock_one(pipeline, request):
    nlp = request.getfixturevalue(pipeline)
    docs = list(nlp.pipe(TEXTS))
    shape = {"width": 12, "depth": 2, "window": 1, "pieces": 3}
    stock = make_stock(docs, attrs=["NORM"], rows=[30], static_vectors=True, **shape)
    assert_same_function(
        stock,
        HashEmbedCNN(rows=[30], vector_width=vectors_width(docs), **shape),
        HashedTokens(["NORM"], [30], static_vectors=True),
        docs,
    )


def test_every_distinct_token_is_one_type(nlp):
    batch = HashedTokens(["LOWER"], [100])([nlp("To be or not to be"), nlp(""), nlp("be")])
    assert len(batch.keys) == len(set(batch.keys.tolist())) == 4
    assert batch.inverse.tolist() == [batch.inverse[i] for i in (0, 1, 2, 3, 0, 1, 1)]
    assert batch.lengths.tolist() == [6, 0, 1]
    assert batch.rows.shape == (4, 1, 4)


def test_tokens_that_differ_in_any_attribute_are_different_types(nlp):
    docs = [nlp("Be be BE")]
    assert len(HashedTokens(["LOWER"], [9])(docs).keys) == 1
    assert len(HashedTokens(["LOWER", "SHAPE"], [9, 9])(docs).keys) == 3


def test_key_of_a_token_is_the_same_in_every_batch(nlp):
    featurize = HashedTokens(STANDARD, [9] * 4)
    one, other = featurize([nlp("card")]), featurize([nlp("my card is new")])
    assert one.keys.tolist() == [other.keys[other.inverse[1]]]


def test_empty_batch_and_empty_docs_have_no_types(nlp_with_vectors):
    for static_vectors in (False, True):
        featurize = HashedTokens(STANDARD, [9] * 4, static_vectors=static_vectors)
        for docs in ([], [nlp_with_vectors("")]):
            batch = featurize(docs)
            assert batch.rows.shape == (0, 4, 4)
            assert batch.lengths.tolist() == [0] * len(docs)


def test_span_has_its_own_tokens(nlp):
    doc = nlp("we want only these words here")
    featurize = HashedTokens(STANDARD, [99] * 4)
    of_span, of_doc = featurize([doc[2:5]]), featurize([nlp("only these words")])
    for left, right in zip(of_span[:4], of_doc[:4], strict=True):
        assert torch.equal(left, right)


def test_changed_static_vector_reaches_the_next_prediction(nlp_with_vectors):
    nlp = nlp_with_vectors
    featurize = HashedTokens(["NORM"], [30], static_vectors=True)
    encoder = HashEmbedCNN(rows=[30], width=8, depth=1, vector_width=6).eval()
    with torch.no_grad():
        before = encoder(featurize([nlp("card")])).values
        nlp.vocab.set_vector("card", np.arange(6, dtype="f"))
        after = encoder(featurize([nlp("card")])).values
    assert not torch.allclose(before, after)


def test_featurizer_survives_pickling(nlp):
    docs = list(nlp.pipe(TEXTS))
    featurize = HashedTokens(STANDARD, [9] * 4)
    copied = pickle.loads(pickle.dumps(featurize))
    assert torch.equal(copied(docs).rows, featurize(docs).rows)


def test_static_vectors_without_any_in_the_vocabulary_are_refused(nlp):
    featurize = HashedTokens(["NORM"], [9], static_vectors=True)
    with pytest.raises(ValueError, match=r"vocabulary has no vectors.*\[initialize.vectors\]"):
        featurize([nlp("card")])


def test_attrs_and_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same length, got 2 attrs and 1 rows"):
        HashedTokens(["NORM", "SHAPE"], [9])


def test_copying_into_an_encoder_of_another_shape_is_refused(nlp):
    shape = {"width": 12, "window": 1, "pieces": 3}
    stock = make_stock(
        [nlp("a")], attrs=["NORM"], rows=[30], static_vectors=False, depth=2, **shape
    )
    with pytest.raises(ValueError, match="should have 4 layers named 'maxout'.* has 3"):
        copy_hash_embed_cnn(stock, HashEmbedCNN(rows=[30], depth=3, **shape))
    with pytest.raises(ValueError, match=r"embed.table: the module expects the shape \(31, 12\)"):
        copy_hash_embed_cnn(stock, HashEmbedCNN(rows=[31], depth=2, **shape))
