import torch

from spacy_torch.nn.bag_of_ngrams import BagOfNgrams, NgramBatch


def make_bag(**settings) -> BagOfNgrams:
    bag = BagOfNgrams(rows=8, n_labels=3, **settings)
    torch.nn.init.normal_(bag.weight)
    torch.nn.init.normal_(bag.bias)
    return bag


BATCH = NgramBatch(
    rows=torch.tensor([1, 4, 6]),
    inverse=torch.tensor([2, 0, 0, 1]),
    lengths=torch.tensor([3, 0, 1]),
)


def test_logits_are_the_bias_and_the_sum_of_the_rows():
    bag = make_bag()
    expected = torch.stack(
        [
            bag.bias + bag.weight[6] + 2 * bag.weight[1],
            bag.bias,
            bag.bias + bag.weight[4],
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
    assert bag.weight.grad._values().tolist() == [[2.0] * 3, [1.0] * 3, [1.0] * 3]


def test_batch_without_ngrams_scores_the_bias():
    nothing = torch.zeros(0, dtype=torch.int64)
    bag = make_bag()
    logits = bag(NgramBatch(nothing, nothing, torch.tensor([0, 0])))
    assert torch.equal(logits, bag.bias.expand(2, 3))
    assert bag(NgramBatch(nothing, nothing, nothing)).shape == (0, 3)


def test_untrained_bag_prefers_no_label():
    assert torch.equal(BagOfNgrams(rows=8, n_labels=3)(BATCH), torch.zeros(3, 3))
