import pickle

import numpy as np
import pytest
import spacy
import torch
from spacy.ml.models.textcat import build_bow_text_classifier_v3

from spacy_torch.architectures.convert import copy_bow
from spacy_torch.features.ngrams import HashedNgrams
from spacy_torch.nn.bag_of_ngrams import BagOfNgrams

TEXTS = [
    "I am still waiting on my card, and my card is still not here!",
    "Hello",
    "Why?  The transfer of 200.50 EUR didn't arrive…",
    "to be or not to be or not to be",
    "zwei Wörter",
]


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def make_stock(docs, *, ngram_size: int, n_labels: int = 4, rows: int = 1000):
    model = build_bow_text_classifier_v3(
        exclusive_classes=True, ngram_size=ngram_size, no_output_layer=True, length=rows
    )
    model.initialize(X=docs, Y=np.zeros((len(docs), n_labels), dtype="f"))
    linear = model.get_ref("output_layer")
    rng = np.random.default_rng(0)
    for name in ("W", "b"):
        shape = linear.get_param(name).shape
        linear.set_param(name, rng.normal(size=shape).astype("f"))
    return model


@pytest.mark.parametrize("ngram_size", [1, 2, 3])
def test_bag_equals_that_of_spacy_in_scores_and_gradients(nlp, ngram_size):
    docs = list(nlp.pipe(TEXTS))
    stock = make_stock(docs, ngram_size=ngram_size)
    bag = BagOfNgrams(rows=1024, n_labels=4)
    copy_bow(stock, bag)
    featurize = HashedNgrams(1024, sizes=range(1, ngram_size + 1))
    scores, backprop = stock.begin_update(docs)
    logits = bag(featurize(docs))
    np.testing.assert_allclose(logits.detach().numpy(), scores, atol=1e-5)
    d_scores = np.random.default_rng(1).normal(size=scores.shape).astype("f")
    backprop(d_scores)
    logits.backward(torch.from_numpy(d_scores))
    linear = stock.get_ref("output_layer")
    expected = linear.get_grad("W").reshape(4, 1024).T
    np.testing.assert_allclose(bag.weight.grad.to_dense().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(bag.bias.grad.numpy(), linear.get_grad("b"), atol=1e-5)


def test_rows_lie_inside_a_table_of_any_size(nlp):
    batch = HashedNgrams(7)(list(nlp.pipe(TEXTS)))
    assert 0 <= int(batch.rows.min()) <= int(batch.rows.max()) < 7


def test_empty_docs_have_no_ngrams(nlp):
    featurize = HashedNgrams(64)
    docs = [nlp(""), nlp("one"), nlp(""), nlp("two words")]
    assert featurize(docs).lengths.tolist() == [0, 1, 0, 3]
    assert featurize([nlp("")]).lengths.tolist() == [0]
    assert featurize([]).lengths.shape == (0,)


def test_ngrams_do_not_depend_on_the_other_docs(nlp):
    featurize = HashedNgrams(2**16)
    docs = list(nlp.pipe([*TEXTS, "", "one"]))
    together = featurize(docs)
    parts = together.rows[together.inverse].split(together.lengths.tolist())
    for doc, rows in zip(docs, parts, strict=True):
        alone = featurize([doc])
        assert torch.equal(rows, alone.rows[alone.inverse])


def test_chosen_sizes_leave_out_the_others(nlp):
    docs = [nlp("a b c d")]
    assert HashedNgrams(64, sizes=[3])(docs).lengths.tolist() == [2]
    assert HashedNgrams(64, sizes=[1, 4])(docs).lengths.tolist() == [4 + 1]


def test_span_has_the_ngrams_of_its_own_tokens(nlp):
    doc = nlp("we want only these words here")
    featurize = HashedNgrams(2**16)
    of_span, of_doc = featurize([doc[2:5]]), featurize([nlp("only these words")])
    assert torch.equal(of_span.rows[of_span.inverse], of_doc.rows[of_doc.inverse])


def test_attribute_decides_what_is_the_same(nlp):
    docs = [nlp("Card"), nlp("card")]
    assert len(HashedNgrams(2**16, attr="ORTH")(docs).rows) == 4
    assert len(HashedNgrams(2**16, attr="LOWER")(docs).rows) == 2


def test_featurizer_survives_pickling(nlp):
    docs = list(nlp.pipe(TEXTS))
    featurize = HashedNgrams(500, sizes=(2, 3), attr="LOWER")
    copied = pickle.loads(pickle.dumps(featurize))
    for left, right in zip(featurize(docs), copied(docs), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("sizes", [(), (0, 1), (2, 2)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"sizes must be different numbers from 1 up, got \["):
        HashedNgrams(64, sizes=sizes)


def test_unknown_attribute_is_refused():
    with pytest.raises(ValueError, match="such as 'NORM' or 'SHAPE', got 'NROM'"):
        HashedNgrams(64, attr="NROM")


def test_copying_into_a_bag_of_another_size_is_refused(nlp):
    stock = make_stock([nlp("a b")], ngram_size=1)
    with pytest.raises(ValueError, match=r"weight: the module expects the shape \(1024, 5\)"):
        copy_bow(stock, BagOfNgrams(rows=1024, n_labels=5))


def test_copying_from_a_model_without_a_bag_is_refused():
    from thinc.api import Linear

    with pytest.raises(ValueError, match="should have 1 layers named 'sparse_linear'.* has 0"):
        copy_bow(Linear(2, 2), BagOfNgrams(rows=8, n_labels=2))
