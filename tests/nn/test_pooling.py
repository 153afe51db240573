import pytest
import torch

from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.pooling import build_pooling
from spacy_torch.nn.ragged import Ragged

KINDS = ["mean", "max", "first", "last", "attention"]


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_does_not_depend_on_the_other_sequences(kind):
    pooling = build_pooling(kind, 4)
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    tokens = Ragged(torch.randn(9, 4), torch.tensor([4, 0, 5]))
    together = pooling(tokens)
    apart = [pooling(Ragged(rows, torch.tensor([len(rows)]))) for rows in tokens.split()]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("kind", KINDS)
def test_empty_sequence_is_pooled_to_zeros(kind):
    tokens = Ragged(torch.randn(2, 4), torch.tensor([0, 2, 0]))
    pooled = build_pooling(kind, 4)(tokens)
    assert torch.equal(pooled[[0, 2]], torch.zeros(2, 4))
    assert pooled[1].abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_empty_batch_is_pooled_to_no_rows(kind):
    tokens = Ragged(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert build_pooling(kind, 4)(tokens).shape == (0, 4)


def test_attention_weighs_the_tokens_by_softmax_of_their_scores():
    pooling = build_pooling("attention", 4)
    torch.nn.init.normal_(pooling.query)
    rows = torch.randn(5, 4)
    expected = (rows * (rows @ pooling.query).softmax(0).unsqueeze(1)).sum(0)
    actual = pooling(Ragged(rows, torch.tensor([5])))[0]
    torch.testing.assert_close(actual, expected)


def test_fresh_attention_is_the_mean():
    tokens = Ragged(torch.randn(7, 4), torch.tensor([3, 4]))
    torch.testing.assert_close(build_pooling("attention", 4)(tokens), tokens.mean())


def test_unknown_pooling_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="one of mean, max, first, last, attention, got 'median'"):
        build_pooling("median", 4)


def test_dropout_without_a_rate_follows_training_and_with_one_is_pinned():
    following, pinned = build_dropout(None), build_dropout(0.3)
    assert following.p == 0.0
    assert not getattr(following, "pinned", False)
    assert pinned.p == 0.3
    assert pinned.pinned


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=f"less than 1.*got {rate}"):
        build_dropout(rate)
