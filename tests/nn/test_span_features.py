"""The features of spans against a loop over the spans."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.span_batch import SpanBatch
from spacy_torch.nn.span_features import SpanFeatures, span_max, span_mean

POOLINGS = ["first", "last", "mean", "max"]


@st.composite
def batches(draw):
    """The lengths of documents, and spans (document, start, end) in their order."""
    lengths = draw(st.lists(st.integers(0, 9), max_size=5))
    spans = []
    for number, length in enumerate(lengths):
        possible = [(number, a, b) for a in range(length) for b in range(a + 1, length + 1)]
        spans += sorted(draw(st.lists(st.sampled_from(possible), max_size=8))) if possible else []
    return lengths, spans


def make_tokens(lengths: list[int], width: int = 3) -> Ragged:
    values = torch.randn(sum(lengths), width, dtype=torch.float64, requires_grad=True)
    return Ragged(values, torch.tensor(lengths, dtype=torch.int64))


def make_spans(lengths: list[int], spans: list[tuple[int, int, int]]) -> SpanBatch:
    table = torch.tensor(spans, dtype=torch.int64).reshape(-1, 3)
    counts = torch.bincount(table[:, 0], minlength=len(lengths))
    return SpanBatch(table[:, 1], table[:, 2], counts, torch.zeros(len(spans), dtype=torch.bool))


def make_features(**settings) -> SpanFeatures:
    settings = {"pooling": POOLINGS, "n_sizes": 4, **settings}
    return SpanFeatures(width=3, hidden_width=5, **settings).double()


def describe_in_a_loop(module: SpanFeatures, tokens: Ragged, spans) -> torch.Tensor:
    """Cut out each span's tokens, map them all, and reduce them."""
    docs = tokens.values.split(tokens.lengths.tolist())
    rows = []
    for number, start, end in spans:
        blocks = module.project(docs[number][start:end]).split(module.hidden_width, dim=1)
        parts = dict(zip(module.pooling, blocks, strict=True))
        reduced = {
            "first": lambda rows: rows[0],
            "last": lambda rows: rows[-1],
            "mean": lambda rows: rows.mean(0),
            "max": lambda rows: rows.max(0).values,
        }
        size = min(end - start, module.sizes.num_embeddings) - 1
        total = module.sizes.weight[size]
        for pooling, part in parts.items():
            total = total + reduced[pooling](part)
        rows.append(total)
    return torch.stack(rows) if rows else torch.zeros(0, module.hidden_width).double()


@settings(deadline=None)
@given(batch=batches(), pooling=st.sets(st.sampled_from(POOLINGS), min_size=1))
def test_features_and_their_gradients_equal_a_loop_over_the_spans(batch, pooling):
    lengths, spans = batch
    tokens = make_tokens(lengths)
    module = make_features(pooling=sorted(pooling))
    found = module(tokens, make_spans(lengths, spans))
    expected = describe_in_a_loop(module, tokens, spans)
    torch.testing.assert_close(found, expected)
    if spans:
        weights = torch.randn_like(found)
        inputs = [tokens.values, *module.parameters()]
        grads = [torch.autograd.grad((x * weights).sum(), inputs) for x in (found, expected)]
        torch.testing.assert_close(*grads)


@settings(deadline=None)
@given(batch=batches(), before=st.integers(0, 4), behind=st.integers(0, 4))
def test_documents_beside_a_span_change_nothing(batch, before, behind):
    lengths, spans = batch
    tokens = make_tokens(lengths)
    module = make_features()
    more = [before, *lengths, behind]
    wider = Ragged(
        torch.cat([torch.randn(before, 3), tokens.values, torch.randn(behind, 3)]),
        torch.tensor(more),
    )
    found = module(wider, make_spans(more, [(number + 1, a, b) for number, a, b in spans]))
    torch.testing.assert_close(found, module(tokens, make_spans(lengths, spans)))


def test_mean_of_a_late_span_is_as_exact_as_that_of_an_early_one():
    values = torch.full((100_000, 1), 0.1)
    values[-1] = 7.0
    late = span_mean(values, torch.tensor([99_999]), torch.tensor([100_000]))
    torch.testing.assert_close(late, torch.tensor([[7.0]]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 63, 64, 65])
def test_largest_of_spans_around_powers_of_two(size):
    values = torch.randn(70, 2)
    starts = torch.arange(70 - size + 1)
    found = span_max(values, starts, starts + size)
    torch.testing.assert_close(found, values.unfold(0, size, 1).amax(2))


def test_no_spans_have_no_largest_values():
    nowhere = torch.zeros(0, dtype=torch.int64)
    assert span_max(torch.randn(4, 2), nowhere, nowhere).shape == (0, 2)


def test_no_spans_have_no_features_and_a_gradient_of_zero():
    tokens = make_tokens([2, 0])
    module = make_features()
    found = module(tokens, make_spans([2, 0], []))
    assert found.shape == (0, 5)
    found.sum().backward()
    assert not tokens.values.grad.any()
    assert not module.project.weight.grad.any()


def test_spans_of_the_last_size_and_more_share_it():
    module = make_features(pooling=["mean"])
    nn.init.zeros_(module.project.weight)
    spans = make_spans([9], [(0, 0, 3), (0, 0, 4), (0, 0, 9)])
    three, four, nine = module(make_tokens([9]), spans)
    assert torch.equal(four, nine)
    assert not torch.equal(three, four)


@pytest.mark.parametrize("pooling", [[], ["first", "first"], ["middle"]])
def test_pooling_must_name_known_ones_once(pooling):
    with pytest.raises(ValueError, match="pooling must name some of first, last, mean, max"):
        make_features(pooling=pooling)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="n_sizes must be at least 1, got 0"):
        make_features(n_sizes=0)
