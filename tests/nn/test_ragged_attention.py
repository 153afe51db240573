import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.ragged_attention import attend, sort_by_length
from spacy_torch.nn.rotary import rotate_at

N_HEADS, WIDTH = 2, 4


def make_tokens(lengths: list[int]) -> Ragged:
    """Query, key and value of each token."""
    values = torch.randn(sum(lengths), 3, N_HEADS, WIDTH, dtype=torch.float64, requires_grad=True)
    return Ragged(values, torch.tensor(lengths, dtype=torch.int64))


def run(tokens: Ragged, window: int) -> Tensor:
    sorted_ = sort_by_length(tokens)
    parts = tokens.values[sorted_.order].unbind(1)
    return attend(*parts, groups=sorted_.groups, window=window)[sorted_.place]


def run_one_by_one(tokens: Ragged, window: int) -> Tensor:
    """Softmax of the products, written out, where two tokens are near enough."""
    attended = []
    for sequence in tokens.split():
        query, key, value = sequence.unbind(1)  # token, head, width
        scores = torch.einsum("qhw,khw->hqk", query, key) / WIDTH**0.5
        places = torch.arange(len(sequence))
        far = (places.unsqueeze(1) - places).abs() > window
        weights = scores.masked_fill(far, -torch.inf).softmax(2)
        attended.append(torch.einsum("hqk,khw->qhw", weights, value))
    return torch.cat(attended)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any),
    window=st.integers(1, 12),
)
def test_attention_and_its_gradient_are_those_of_each_sequence_alone(lengths, window):
    tokens = make_tokens(lengths)
    actual, expected = run(tokens, window), run_one_by_one(tokens, window)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    (found,) = torch.autograd.grad((actual * weights).sum(), tokens.values)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), tokens.values)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 8, 9, 50])
def test_limit_and_ten_times_the_limit_are_seen_as_said(length):
    window = 4  # up to 5 tokens see each other
    tokens = make_tokens([length])
    torch.testing.assert_close(run(tokens, window), run_one_by_one(tokens, window))
    if length <= window + 1:
        torch.testing.assert_close(run(tokens, window), run(tokens, 1000))


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 5), max_size=8))
def test_rows_are_sorted_by_length_and_find_their_way_back(lengths):
    numbers = Ragged(torch.arange(sum(lengths)), torch.tensor(lengths, dtype=torch.int64))
    sorted_ = sort_by_length(numbers)
    expected = [s for s in sorted(numbers.split(), key=len)]
    assert sorted_.order.tolist() == [row for sequence in expected for row in sequence.tolist()]
    assert torch.equal(sorted_.order[sorted_.place], numbers.values)
    assert sorted_.positions.tolist() == [place for s in expected for place in range(len(s))]
    assert [n for count, n in sorted_.groups for _ in range(count)] == [
        len(s) for s in expected if len(s)
    ]


def test_product_of_turned_vectors_depends_on_their_distance_only():
    query, key = torch.randn(2, 1, 1, 1, 6, dtype=torch.float64)
    products = []
    for first in (0, 3, 5000):
        rotation = rotate_at(torch.tensor([first, first + 2]), width=6)
        pair = torch.cat([query, key])
        turned = rotation.turn(pair).flatten(1)
        products.append(turned[0] @ turned[1])
        torch.testing.assert_close(turned.norm(dim=1), pair.flatten(1).norm(dim=1))
    torch.testing.assert_close(products[1], products[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(products[2], products[0], atol=1e-2, rtol=0)


def test_turning_is_a_rotation_by_the_angles_of_the_paper():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    turned = rotate_at(torch.tensor([7]), width=4).turn(values).flatten()
    # The pairs are (1, 3) and (2, 4), their angles 7 and 7 / sqrt(10,000).
    for pair, angle in (((0, 2), 7.0), ((1, 3), 0.07)):
        left, right = values.flatten()[list(pair)]
        expected = torch.polar(torch.tensor(1.0), torch.tensor(angle)) * torch.complex(left, right)
        torch.testing.assert_close(turned[list(pair)], torch.view_as_real(expected))
