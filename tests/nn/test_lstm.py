from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spacy_torch.nn import lstm
from spacy_torch.nn.lstm import PackedLSTM
from spacy_torch.nn.packed_order import pack
from spacy_torch.nn.ragged import Ragged

INPUTS, WIDTH = 3, 4


def make_layer(dtype: torch.dtype = torch.float64) -> PackedLSTM:
    layer = PackedLSTM(INPUTS, width=WIDTH).to(dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def make_tokens(lengths: list[int], dtype: torch.dtype = torch.float64) -> Ragged:
    values = torch.randn(sum(lengths), INPUTS, dtype=dtype, requires_grad=True)
    return Ragged(values, torch.tensor(lengths, dtype=torch.int64))


def run(layer: PackedLSTM, tokens: Ragged) -> Tensor:
    packed = pack(tokens)
    return layer(tokens.values[packed.order], packed)[packed.place]


def run_one_by_one(layer: PackedLSTM, tokens: Ragged) -> Tensor:
    """torch's own LSTM, a sentence at a time."""
    return torch.cat([layer.lstm(sequence)[0] for sequence in tokens.split() if len(sequence)])


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any))
def test_states_and_gradients_are_those_of_torch_sentence_by_sentence(lengths):
    layer, tokens = make_layer(), make_tokens(lengths)
    expected, actual = run_one_by_one(layer, tokens), run(layer, tokens)
    torch.testing.assert_close(actual, expected)
    for few in (0, 100):  # by our own steps, and by torch's
        with torch.no_grad(), patch.object(lstm, "FEW", few):
            torch.testing.assert_close(run(layer, tokens), expected)
    inputs = [tokens.values, *layer.parameters()]
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    found = torch.autograd.grad((actual * weights).sum(), inputs)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right)


def test_large_inputs_saturate_without_nan():
    layer = make_layer(torch.float32)
    tokens = Ragged(torch.tensor([[1e30] * 3, [-1e30] * 3, [1e4] * 3]), torch.tensor([2, 1]))
    states = run(layer, tokens)
    assert states.isfinite().all()
    torch.testing.assert_close(states, run_one_by_one(layer, tokens))


def test_single_precision_stays_as_close_as_torch_over_a_long_sentence():
    layer, tokens = make_layer(torch.float32), make_tokens([3000, 2], torch.float32)
    exact = run_one_by_one(
        make_double(layer), Ragged(tokens.values.double(), tokens.lengths)
    ).float()
    torch.testing.assert_close(run(layer, tokens), exact, atol=2e-5, rtol=0)


def make_double(layer: PackedLSTM) -> PackedLSTM:
    double = PackedLSTM(INPUTS, width=WIDTH).double()
    double.load_state_dict(layer.state_dict())
    return double


def test_bfloat16_autocast_stays_close():
    layer, tokens = make_layer(torch.float32), make_tokens([3, 5], torch.float32)
    expected = run(layer, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = run(layer, tokens)
    torch.testing.assert_close(actual.float(), expected, atol=0.1, rtol=0.1)
    actual.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_gradient_of_what_comes_in_need_not_be_asked_for():
    layer, tokens = make_layer(), make_tokens([2, 3])
    run(layer, tokens).sum().backward()
    expected = layer.lstm.weight_ih_l0.grad.clone()
    layer.zero_grad()
    run(layer, Ragged(tokens.values.detach(), tokens.lengths)).sum().backward()
    torch.testing.assert_close(layer.lstm.weight_ih_l0.grad, expected)


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_tokens_have_no_states_and_can_be_differentiated(lengths):
    tokens = make_tokens(lengths)
    states = run(make_layer(), tokens)
    assert states.shape == (0, WIDTH)
    states.sum().backward()


def test_forget_gates_start_open_and_recurrent_weights_turn_without_shrinking():
    made = PackedLSTM(INPUTS, width=WIDTH).lstm
    bias = (made.bias_ih_l0 + made.bias_hh_l0).tolist()
    half = WIDTH // 2
    assert bias == [0.0] * half + [1.0] * half + [0.0] * 2 * half
    for gate in made.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(half))


@pytest.mark.parametrize("width", [0, 5])
def test_width_that_cannot_be_halved_is_refused(width):
    with pytest.raises(ValueError, match=f"width must be an even number of at least 2.*{width}"):
        PackedLSTM(INPUTS, width=width)
