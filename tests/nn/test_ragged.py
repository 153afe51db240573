import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.ragged import Ragged

lengths_of_batches = st.lists(st.integers(0, 5), max_size=6)
reductions = st.sampled_from(["sum", "mean", "max", "first", "last"])

NAIVE = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0).values,
    "first": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
}


def make_ragged(lengths: list[int], width: int = 3) -> Ragged:
    values = torch.randn(sum(lengths), width, dtype=torch.float64, requires_grad=True)
    return Ragged(values, torch.tensor(lengths, dtype=torch.int64))


def reduce_in_a_loop(ragged: Ragged, reduction: str) -> torch.Tensor:
    rows = [
        NAIVE[reduction](sequence) if len(sequence) else sequence.new_zeros(sequence.shape[1])
        for sequence in ragged.values.split(ragged.lengths.tolist())
    ]
    return torch.stack(rows) if rows else ragged.values.new_zeros(0, ragged.values.shape[1])


@settings(deadline=None)
@given(lengths=lengths_of_batches, reduction=reductions)
def test_reduction_equals_a_loop_over_the_sequences(lengths, reduction):
    ragged = make_ragged(lengths)
    expected = reduce_in_a_loop(ragged, reduction)
    actual = getattr(ragged, reduction)()
    assert actual.shape == (len(lengths), 3)
    torch.testing.assert_close(actual, expected)


@settings(deadline=None)
@given(lengths=lengths_of_batches.filter(any), reduction=reductions)
def test_gradient_of_a_reduction_equals_that_of_a_loop(lengths, reduction):
    ragged = make_ragged(lengths)
    weights = torch.randn(len(lengths), 3, dtype=torch.float64)
    (expected,) = torch.autograd.grad(
        (reduce_in_a_loop(ragged, reduction) * weights).sum(), ragged.values
    )
    (actual,) = torch.autograd.grad((getattr(ragged, reduction)() * weights).sum(), ragged.values)
    torch.testing.assert_close(actual, expected)


@settings(deadline=None)
@given(lengths=lengths_of_batches, reduction=reductions)
def test_reduction_of_no_tokens_can_be_differentiated(lengths, reduction):
    ragged = make_ragged([0] * len(lengths))
    reduced = getattr(ragged, reduction)()
    assert torch.equal(reduced, torch.zeros(len(lengths), 3, dtype=torch.float64))
    reduced.sum().backward()
    assert ragged.values.grad.shape == (0, 3)


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_padding_and_back_changes_nothing(lengths):
    ragged = make_ragged(lengths)
    padded, mask = ragged.to_padded()
    assert padded.shape == (len(lengths), max(lengths, default=0), 3)
    assert mask.sum(1).tolist() == lengths
    assert torch.equal(padded[~mask], torch.zeros_like(padded[~mask]))
    back = Ragged.from_padded(padded, mask)
    assert torch.equal(back.values, ragged.values)
    assert torch.equal(back.lengths, ragged.lengths)


def test_padded_rows_are_the_sequences_in_order():
    ragged = make_ragged([2, 0, 3])
    padded, _ = ragged.to_padded()
    assert torch.equal(padded[0, :2], ragged.values[:2])
    assert torch.equal(padded[2], ragged.values[2:])


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_split_offsets_and_sequence_ids_agree(lengths):
    ragged = make_ragged(lengths)
    pieces = ragged.split()
    ids = ragged.sequence_ids()
    assert [len(piece) for piece in pieces] == lengths
    for number, (piece, start) in enumerate(zip(pieces, ragged.offsets().tolist(), strict=True)):
        assert torch.equal(piece, ragged.values[start : start + len(piece)])
        assert torch.equal(piece, ragged.values[ids == number])


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_softmax_equals_a_loop_over_the_sequences(lengths):
    ragged = make_ragged(lengths)
    expected = [sequence.softmax(0) for sequence in ragged.split()]
    actual = ragged.softmax().split()
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_softmax_survives_large_values():
    ragged = Ragged(torch.tensor([[1000.0], [1000.0], [-1000.0]]), torch.tensor([2, 1]))
    assert ragged.softmax().values.tolist() == [[0.5], [0.5], [1.0]]


def test_gradient_of_the_largest_is_shared_whatever_its_sign():
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [3.0, 2.0], [4.0, 4.0]], requires_grad=True)
    largest = Ragged(values, torch.tensor([3, 0, 1])).max()
    largest.backward(torch.tensor([[-2.0, 2.0], [7.0, 7.0], [-1.0, 1.0]]))
    expected = [[0.0, 1.0], [-1.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]]
    assert values.grad.tolist() == expected
