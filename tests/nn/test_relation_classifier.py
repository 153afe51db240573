"""The pairs of a batch are read as five stretches, each pair as if it were alone."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spacy_torch.nn import relation_classifier
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.relation_classifier import (
    PairBatch,
    RelationClassifier,
    expand,
    split_rows,
    stretches,
)

WIDTH = 6
HIDDEN = 8


class Given(nn.Module):
    """An encoder whose batch is what it returns."""

    def forward(self, batch: Ragged) -> Ragged:
        return batch


def build(**sizes: int) -> RelationClassifier:
    torch.manual_seed(0)
    module = RelationClassifier(
        Given(), width=WIDTH, n_labels=3, hidden_width=HIDDEN, **{"context": 2, **sizes}
    )
    nn.init.normal_(module.output.weight)
    return module.eval()


def make_batch(values: Tensor, lengths: list[int], pairs: list[list[list[int]]]) -> PairBatch:
    return PairBatch(
        Ragged(values, torch.tensor(lengths, dtype=torch.int64)),
        torch.tensor([pair for found in pairs for pair in found]).reshape(-1, 4).long(),
        torch.tensor([len(found) for found in pairs], dtype=torch.int64),
    )


def test_stretches_are_before_head_between_tail_and_after():
    # Ten tokens, from row 100 on; the head is 103-104, the tail 106-107, the context 2.
    spans = torch.tensor([[103, 105, 106, 108]])
    starts, ends = stretches(spans, torch.tensor([100]), torch.tensor([110]), context=2)
    assert starts.tolist() == [[101, 103, 105, 106, 108]]
    assert ends.tolist() == [[103, 105, 106, 108, 110]]


def test_head_may_come_last_and_the_context_ends_with_the_sequence():
    spans = torch.tensor([[4, 5, 1, 2]])
    starts, ends = stretches(spans, torch.tensor([0]), torch.tensor([6]), context=9)
    assert starts.tolist() == [[0, 4, 2, 1, 5]]
    assert ends.tolist() == [[1, 5, 4, 2, 6]]


@pytest.mark.parametrize("spans", [(0, 4, 1, 2), (1, 2, 0, 4), (0, 3, 2, 4), (1, 2, 1, 2)])
def test_nothing_is_between_spans_that_overlap(spans):
    starts, ends = stretches(torch.tensor([spans]), torch.tensor([0]), torch.tensor([5]), context=9)
    assert starts[0, 2] == ends[0, 2]
    assert (starts <= ends).all()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=8))
def test_ranges_expand_as_python_ranges_do(ranges):
    starts = torch.tensor([start for start, _ in ranges], dtype=torch.int64)
    ends = torch.tensor([start + n for start, n in ranges], dtype=torch.int64)
    rows, lengths = expand(starts, ends)
    assert rows.tolist() == [row for start, n in ranges for row in range(start, start + n)]
    assert lengths.tolist() == [n for _, n in ranges]


def brute_force(module: RelationClassifier, tokens: Tensor, pair: list[int]) -> Tensor:
    """Read one pair of one sequence token by token."""
    head, tail = range(pair[0], pair[1]), range(pair[2], pair[3])

    def distance(token: int, span: range) -> int:
        if token in span:
            return 0
        found = token - span[0] if token < span[0] else token - span[-1]
        return max(-module.max_distance, min(module.max_distance, found))

    left, right = min(head[0], tail[0]), max(head[-1], tail[-1])
    parts = [
        [t for t in range(left - module.context, left) if t >= 0],
        list(head),
        [t for t in range(left, right + 1) if min(head[-1], tail[-1]) < t < max(head[0], tail[0])],
        list(tail),
        [t for t in range(right + 1, right + 1 + module.context) if t < len(tokens)],
    ]
    seen = [t for t in range(left - module.context, right + 1 + module.context)]
    seen = [t for t in seen if 0 <= t < len(tokens)]
    # place, hidden, input
    see_token = module.see_token.weight.view(2 * module.window + 1, HIDDEN, -1)
    see_distances = module.see_distances.weight.view(2 * module.window + 1, HIDDEN, -1)

    def read(token: int) -> Tensor:
        found = module.bias
        for place, neighbour in enumerate(range(token - module.window, token + module.window + 1)):
            if neighbour not in seen:
                continue
            near = [
                table.weight[module.max_distance + distance(neighbour, span)]
                for table, span in ((module.head_distance, head), (module.tail_distance, tail))
            ]
            found = found + see_token[place] @ tokens[neighbour]
            found = found + see_distances[place] @ torch.cat(near)
        return nn.functional.gelu(found)

    zeros = torch.zeros(HIDDEN)
    pooled = [torch.stack([*map(read, part)]).max(0).values if part else zeros for part in parts]
    means = [tokens[list(span)].mean(0) for span in (head, tail)]
    hidden = module.norm(nn.functional.gelu(module.combine(torch.cat([*pooled, *means]))))
    return module.output(hidden)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_every_pair_is_read_as_token_by_token(window):
    module = build(max_distance=2, window=window)
    nn.init.normal_(module.bias)
    lengths = [5, 0, 3]
    values = torch.randn(sum(lengths), WIDTH)
    spans = [(start, end) for start in range(5) for end in range(start + 1, min(start + 3, 6))]
    long = [[*head, *tail] for head, tail in product(spans, spans)]
    short = [[0, 1, 2, 3], [1, 3, 0, 1]]
    found = module(make_batch(values, lengths, [long, [], short]))
    assert found.lengths.tolist() == [len(long), 0, 2]
    expected = [brute_force(module, values[:5], pair) for pair in long]
    expected += [brute_force(module, values[5:], pair) for pair in short]
    torch.testing.assert_close(found.values, torch.stack(expected), rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_parts_have_fewer_rows_than_the_limit_before_their_last_pair(lengths, limit):
    sizes = split_rows(torch.tensor(lengths), limit)
    assert sum(sizes) == len(lengths)
    assert min(sizes) > 0
    parts = torch.tensor(lengths).split(sizes)
    assert all(int(part[:-1].sum()) < limit for part in parts)


def make_dense(n_tokens: int, n_spans: int, *, reach: int = 4) -> PairBatch:
    """One sequence, and each pair of neighbouring one-token spans within `reach`."""
    pairs = [
        [head, head + 1, tail, tail + 1]
        for head, tail in product(range(n_spans), range(n_spans))
        if 0 < abs(head - tail) <= reach
    ]
    return make_batch(torch.randn(n_tokens, WIDTH, requires_grad=True), [n_tokens], [pairs])


@pytest.mark.parametrize("limit", [1, 7, 40, 300])
def test_reading_in_parts_changes_neither_logits_nor_gradients(monkeypatch, limit):
    module = build(window=2).train().double()
    batch = make_dense(20, 15)
    values = batch.tokens.values.detach().double().requires_grad_()
    batch = batch._replace(tokens=Ragged(values, batch.tokens.lengths))
    found = []
    for max_rows in (10**6, limit):
        monkeypatch.setattr(relation_classifier, "MAX_ROWS", max_rows)
        logits = module(batch).values
        inputs = [batch.tokens.values, *module.parameters()]
        found.append((logits, *torch.autograd.grad((logits * logits.cos()).sum(), inputs)))
        with torch.no_grad():
            torch.testing.assert_close(module(batch).values, logits)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("is_train", [True, False])
def test_no_more_rows_than_the_limit_and_one_pair_are_made_at_once(monkeypatch, is_train):
    monkeypatch.setattr(relation_classifier, "MAX_ROWS", 50)
    module = build()
    n_rows = []
    module.see_distances.register_forward_hook(lambda _, inputs, __: n_rows.append(len(inputs[0])))
    batch = make_dense(100, 60)
    with torch.set_grad_enabled(is_train):
        logits = module(batch).values
    if is_train:
        logits.sum().backward()
    assert sum(n_rows) > 60 * 50
    assert max(n_rows) < 50 + 9  # two spans four apart, and two tokens on either side


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_tokens_of_each_pair(monkeypatch):
    monkeypatch.setattr(relation_classifier, "MAX_ROWS", 50)
    module = build()
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = make_dense(100, 60)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = module(batch).values
    assert logits.requires_grad  # what was kept is still there, each at a place of its own
    # Float32 vectors of each pair, its places and the weights; read at once, a pair keeps
    # more than three times five to nine such vectors.
    assert sum(kept.values()) < 15 * len(batch.spans) * HIDDEN * 4


def test_head_and_tail_are_told_apart():
    module = build()
    values = torch.randn(4, WIDTH)
    forward, backward = module(make_batch(values, [4], [[[0, 1, 3, 4], [3, 4, 0, 1]]])).values
    assert not torch.allclose(forward, backward)


@pytest.mark.parametrize("lengths", [[], [0], [3, 0]])
def test_batch_without_pairs_has_no_rows_and_a_gradient_of_zero(lengths):
    module = build().train()
    values = torch.randn(sum(lengths), WIDTH, requires_grad=True)
    found = module(make_batch(values, lengths, [[] for _ in lengths]))
    assert found.values.shape == (0, 4)
    assert found.lengths.tolist() == [0] * len(lengths)
    found.values.sum().backward()
    assert not values.grad.any()


def test_labels_that_do_not_exclude_each_other_have_no_column_for_none():
    module = RelationClassifier(Given(), width=WIDTH, n_labels=3, exclusive=False)
    assert module(make_batch(torch.randn(2, WIDTH), [2], [[[0, 1, 1, 2]]])).values.shape == (1, 3)


@pytest.mark.parametrize("size", ["window", "context", "max_distance"])
def test_negative_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"{size} must be >= 0, got -1"):
        build(**{size: -1})


def test_encoder_of_another_width_is_refused():
    with pytest.raises(ValueError, match="make the vectors as wide as"):
        build()(make_batch(torch.randn(2, WIDTH + 1), [2], [[[0, 1, 1, 2]]]))
