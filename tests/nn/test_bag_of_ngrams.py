import torch

from spacy_torch.nn.bag_of_ngrams import BagOfNgrams, NgramBatch


def make_bag(**settings) -> BagOfNgrams:
    bag = BagOfNgrams(rows=8, n_labels=3, **settings)
    torch.nn.init.normal_(bag.weight)
    torch.nn.init.normal_(bag.bias)
    return bag


BATCH = NgramBatch(
    rows=torch.tensor([1, 4, 6]),
    inverse=torch.tensor([[2, 0], [0, 0], [1, 2]]),
    lengths=torch.tensor([2, 0, 1]),
)


def test_logits_are_the_bias_and_the_sum_of_the_rows():
    bag = make_bag()
    expected = torch.stack(
        [
            bag.bias + bag.weight[6] + 3 * bag.weight[1],
            bag.bias,
            bag.bias + bag.weight[4] + bag.weight[6],
        ]
    )
    torch.testing.assert_close(bag(BATCH), expected)


def test_scale_multiplies_the_rows_and_not_the_bias():
    bag = make_bag(scale=0.5)
    bag.bias.data.zero_()
    whole = make_bag()
    whole.weight, whole.bias = bag.weight, bag.bias
    torch.testing.assert_close(bag(BATCH), 0.5 * whole(BATCH))
    bag.weight.data.zero_()
    bag.bias.data.fill_(3.0)
    assert torch.equal(bag(BATCH), torch.full((3, 3), 3.0))


def test_gradient_is_sparse_with_every_row_once_and_ascending():
    bag = make_bag()
    bag(BATCH).sum().backward()
    assert bag.weight.grad.is_sparse
    assert bag.weight.grad._indices().tolist() == [[1, 4, 6]]
    assert bag.weight.grad._values().tolist() == [[3.0] * 3, [1.0] * 3, [2.0] * 3]


def test_batch_without_ngrams_scores_the_bias():
    nothing = torch.zeros(0, dtype=torch.int64)
    no_ngrams = nothing.reshape(0, 2)
    bag = make_bag(normalize=True, dropout=0.5)
    logits = bag(NgramBatch(nothing, no_ngrams, torch.tensor([0, 0])))
    assert torch.equal(logits, bag.bias.expand(2, 3))
    assert bag(NgramBatch(nothing, no_ngrams, nothing)).shape == (0, 3)


def test_untrained_bag_prefers_no_label():
    assert torch.equal(BagOfNgrams(rows=8, n_labels=3)(BATCH), torch.zeros(3, 3))


def test_normalized_sum_is_divided_by_the_root_of_the_number_of_its_terms():
    whole, normalized = make_bag(), make_bag(normalize=True)
    whole.bias.data.zero_()
    normalized.weight, normalized.bias = whole.weight, whole.bias
    n_terms = torch.tensor([4.0, 1.0, 2.0])
    torch.testing.assert_close(normalized(BATCH), whole(BATCH) / n_terms.sqrt().unsqueeze(1))


def test_dropout_leaves_out_whole_ngrams():
    n_ngrams = 1000
    bag = BagOfNgrams(rows=2 * n_ngrams, n_labels=1, dropout=0.5)
    bag.weight.data.fill_(1.0)
    rows = torch.arange(2 * n_ngrams)
    ones = torch.ones(n_ngrams, dtype=torch.int64)
    scores = bag(NgramBatch(rows, rows.reshape(n_ngrams, 2), ones))
    # Each n-gram has two rows of weight 1: what is kept counts 1 / (1 - 0.5) times 2, or nothing.
    assert set(scores.flatten().tolist()) == {0.0, 4.0}
    assert 0.4 < scores.mean() / 4 < 0.6
