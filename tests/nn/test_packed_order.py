import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from spacy_torch.nn.packed_order import pack
from spacy_torch.nn.ragged import Ragged

lengths_of_batches = st.lists(st.integers(0, 6), max_size=6)


def make_tokens(lengths: list[int]) -> Ragged:
    return Ragged(torch.arange(sum(lengths)), torch.tensor(lengths, dtype=torch.int64))


@settings(deadline=None)
@given(lengths=lengths_of_batches.filter(any))
def test_packed_order_is_that_of_torch(lengths):
    tokens = make_tokens(lengths)
    packed = pack(tokens)
    # Python's sort is stable, as ours is; torch's pack_sequence need not be.
    by_length = sorted((s for s in tokens.split() if len(s)), key=len, reverse=True)
    expected = pack_sequence(by_length)
    assert torch.equal(packed.order, expected.data)
    assert packed.sizes == expected.batch_sizes.tolist()
    backwards = pack_sequence([sequence.flip(0) for sequence in by_length])
    assert torch.equal(packed.order[packed.flip], backwards.data)


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_rows_find_their_way_back(lengths):
    tokens = make_tokens(lengths)
    packed = pack(tokens)
    assert torch.equal(packed.order[packed.place], tokens.values)
    assert torch.equal(packed.flip[packed.flip], torch.arange(len(tokens.values)))


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_previous_row_is_the_token_before_and_a_sequence_keeps_its_number(lengths):
    packed = pack(make_tokens(lengths))
    previous = packed.previous()
    n_first = packed.sizes[0] if packed.sizes else 0
    assert torch.equal(packed.order[previous], packed.order[n_first:] - 1)
    assert torch.equal(packed.sequence[previous], packed.sequence[n_first:])
    assert packed.sequence[:n_first].tolist() == list(range(n_first))
