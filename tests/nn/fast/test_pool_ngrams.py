"""Directions of a pool against a full decomposition, and what a small pool leaves open."""

import torch

from spacy_torch.nn.bag_of_ngrams import NgramBatch
from spacy_torch.nn.fast.pool_ngrams import PoolNgrams

ROWS = 16


def make_batch(texts):
    """Texts as lists of the table rows of their n-grams, one hash each."""
    flat = torch.tensor([row for text in texts for row in text], dtype=torch.int64)
    rows, inverse = torch.unique(flat, return_inverse=True)
    return NgramBatch(rows, inverse.unsqueeze(1), torch.tensor([len(text) for text in texts]))


TEXTS = [[0, 1, 2], [0, 1], [3, 4], [3, 4, 5, 5], [2, 5], [0, 2], []]


def expected_directions(texts, width):
    counts = torch.zeros(len(texts), ROWS, dtype=torch.float64)
    for text, rows in enumerate(texts):
        for row in rows:
            counts[text, row] += 1
    frequency = (counts > 0).sum(0)
    inverse = ((1 + len(texts)) / (1 + frequency)).log() + 1
    damped = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0.0)
    weighted = damped * inverse
    weighted = weighted / weighted.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return damped * inverse @ torch.linalg.svd(weighted, full_matrices=False)[2][:width].T


def test_texts_are_as_far_apart_as_in_the_main_directions_of_the_pool():
    module = PoolNgrams(rows=ROWS, width=3)
    module.learn_pool([make_batch(TEXTS[:3]), make_batch(TEXTS[3:])])
    vectors = module(make_batch(TEXTS))
    expected = torch.nn.functional.normalize(expected_directions(TEXTS, 3).float(), dim=1)
    torch.testing.assert_close(vectors @ vectors.T, expected @ expected.T, atol=2e-3, rtol=0)


def test_a_text_without_ngrams_is_a_row_of_zeros():
    module = PoolNgrams(rows=ROWS, width=3)
    assert module(make_batch([[], [1]])).norm(dim=1).tolist() == [0, 1]
    module.learn_pool([make_batch([[]])])
    module.learn_pool([])
    assert module(make_batch([[]])).tolist() == [[0, 0, 0]]


def test_ngrams_that_the_pool_lacks_still_tell_texts_apart():
    module = PoolNgrams(rows=ROWS, width=8)
    module.learn_pool([make_batch([[0, 1], [2, 3]])])
    vectors = module(make_batch([[9], [9, 9], [10], [0, 9]]))
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.99
    assert similar[0, 2] < 0.9
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def test_the_same_pool_gives_the_same_directions():
    modules = [PoolNgrams(rows=ROWS, width=4) for _ in range(2)]
    for module in modules:
        module.learn_pool([make_batch(TEXTS)])
    assert torch.equal(modules[0].weight, modules[1].weight)
