import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_batches import ROWS, make_batch, split_batch
from torch import nn

from spacy_torch.nn.bilstm import BiLSTM
from spacy_torch.nn.packed_order import pack
from spacy_torch.nn.ragged import Ragged

SETTINGS = {"rows": ROWS, "width": 6, "depth": 2, "embed_width": 4}


def make_encoder(**settings) -> BiLSTM:
    return BiLSTM(**{**SETTINGS, **settings}).eval()


def as_one_lstm(encoder: BiLSTM) -> nn.LSTM:
    """The same weights in torch's own stack of layers."""
    lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True)
    weights = {
        name.replace("_l0", f"_l{index}"): tensor
        for index, layer in enumerate(encoder.layers)
        for name, tensor in layer.lstm.state_dict().items()
    }
    lstm.load_state_dict(weights)
    return lstm


def test_encoder_is_the_embeddings_read_by_torchs_lstm():
    encoder, batch = make_encoder(), make_batch([4, 0, 1, 7])
    lstm = as_one_lstm(encoder)
    tokens = encoder.embed(batch)[batch.inverse]
    expected = [lstm(s)[0] for s in tokens.split(batch.lengths.tolist()) if len(s)]
    torch.testing.assert_close(encoder(batch).values, torch.cat(expected))


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_sequence_is_encoded_the_same_alone_and_among_others(lengths):
    encoder, batch = make_encoder(), make_batch(lengths)
    for together, alone in zip(encoder(batch).split(), split_batch(batch), strict=True):
        torch.testing.assert_close(encoder(alone).values, together, atol=1e-6, rtol=1e-5)


def drop_second_layer(encoder: BiLSTM, lengths: list[int]) -> list[torch.Tensor]:
    """What the second layer is given, as which columns of each token are dropped."""
    given_: list[torch.Tensor] = []
    encoder.layers[1].register_forward_pre_hook(lambda _, args: given_.append(args[0] == 0))
    batch = make_batch(lengths)
    encoder(batch)
    (packed,) = given_
    rows = packed[pack(Ragged(batch.inverse, batch.lengths)).place]
    return list(rows.split(lengths))


def test_dropout_of_a_sequence_takes_the_same_columns_of_all_its_tokens():
    encoder = make_encoder(width=64, dropout=0.5).train()
    long, short = drop_second_layer(encoder, [9, 5])
    assert (long == long[0]).all()
    assert (short == short[0]).all()
    assert (long[0] != short[0]).any()
    assert 10 < long[0].sum() < 54


def test_dropout_of_tokens_draws_anew_for_each():
    encoder = make_encoder(width=64, dropout=0.5, dropout_mask="token").train()
    (tokens,) = drop_second_layer(encoder, [9])
    assert all((tokens[0] != other).any() for other in tokens[1:])


def test_nothing_is_dropped_outside_training_and_the_rate_follows_unless_pinned():
    pinned, batch = make_encoder(dropout=0.5), make_batch([5])
    assert torch.equal(pinned(batch).values, pinned(batch).values)
    rates = {m.p for m in make_encoder().modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.0}


@pytest.mark.parametrize("lengths", [[], [0, 0]])
@pytest.mark.parametrize("training", [False, True])
def test_batch_without_tokens_can_be_encoded_and_differentiated(lengths, training):
    encoder = make_encoder(dropout=0.5).train(training)
    batch = make_batch(lengths)
    vectors = encoder(batch)
    assert vectors.values.shape == (0, 6)
    assert vectors.lengths.tolist() == lengths
    vectors.values.sum().backward()


def test_long_sequence_beside_a_short_one_can_be_trained():
    encoder = make_encoder().train()
    encoder(make_batch([2000, 1])).values.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_static_vectors_are_read_too():
    encoder, batch = make_encoder(vector_width=5), make_batch([3], vector_width=5)
    others = batch._replace(vectors=batch.vectors + 1)
    assert not torch.allclose(encoder(batch).values, encoder(others).values)


def test_encoder_without_layers_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        make_encoder(depth=0)
