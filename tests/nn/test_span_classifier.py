"""The module that scores spans, and the proposer inside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.span_batch import SpanBatch
from spacy_torch.nn.span_classifier import SpanClassifier
from spacy_torch.nn.span_proposer import SpanProposer


def make_proposer(**settings) -> SpanProposer:
    return SpanProposer(**{"width": 4, "rank": 3, "per_token": 0.5, "at_least": 1, **settings})


def make_classifier(**settings) -> SpanClassifier:
    sizes = {"width": 4, "n_labels": 2, "hidden_width": 6, "pooling": ["first", "max"]}
    return SpanClassifier(nn.Identity(), **sizes, n_sizes=4, **settings).eval()


def all_spans(lengths: list[int], *, required=()) -> SpanBatch:
    spans = [
        (number, start, end)
        for number, length in enumerate(lengths)
        for start in range(length)
        for end in range(start + 1, length + 1)
    ]
    table = torch.tensor(spans, dtype=torch.int64).reshape(-1, 3)
    counts = torch.bincount(table[:, 0], minlength=len(lengths))
    marks = torch.tensor([span in required for span in spans], dtype=torch.bool)
    return SpanBatch(table[:, 1], table[:, 2], counts, marks)


def make_tokens(lengths: list[int]) -> Ragged:
    return Ragged(torch.randn(sum(lengths), 4), torch.tensor(lengths, dtype=torch.int64))


lengths_of_batches = st.lists(st.integers(0, 6), max_size=5)


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_each_document_is_scored_as_if_it_were_alone(lengths):
    module, tokens = make_classifier(), make_tokens(lengths)
    together = module(tokens, all_spans(lengths))
    assert together.spans.lengths.tolist() == [n * (n + 1) // 2 for n in lengths]
    alone = [
        module(Ragged(rows, torch.tensor([len(rows)])), all_spans([len(rows)])).values
        for rows in tokens.split()
    ]
    expected = torch.cat(alone) if alone else torch.zeros(0, 2)
    torch.testing.assert_close(together.values, expected, atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(lengths=lengths_of_batches)
def test_proposals_equal_the_formula_for_each_span(lengths):
    proposer, tokens, spans = make_proposer(), make_tokens(lengths), all_spans(lengths)
    docs = tokens.split()
    expected = []
    for number, start, end in zip(spans.sequence_ids(), spans.starts, spans.ends, strict=True):
        first, last = proposer.first(docs[number][start]), proposer.last(docs[number][end - 1])
        expected.append(first[0] + last[0] + first[1:] @ last[1:] / 3**0.5)
    expected = torch.stack(expected) if expected else torch.zeros(0)
    torch.testing.assert_close(proposer(tokens, spans), expected)


@settings(deadline=None)
@given(lengths=lengths_of_batches, data=st.data())
def test_choice_is_the_best_within_the_budget_and_what_is_required(lengths, data):
    spans = all_spans(lengths)
    n_spans = len(spans.starts)
    numbers = st.lists(st.integers(0, 3), min_size=n_spans, max_size=n_spans)
    scores = torch.tensor(data.draw(numbers), dtype=torch.float32)  # with equal ones
    marks = st.lists(st.booleans(), min_size=n_spans, max_size=n_spans)
    spans = spans._replace(required=torch.tensor(data.draw(marks), dtype=torch.bool))
    chosen = make_proposer().choose(scores, make_tokens(lengths), spans)
    row = 0
    for length in lengths:
        rows = range(row, row + length * (length + 1) // 2)
        ranked = sorted(rows, key=lambda r: (not spans.required[r], -scores[r], r))
        budget = -(-length // 2) + 1
        expected = {r for place, r in enumerate(ranked) if place < budget or spans.required[r]}
        assert {r for r in rows if chosen[r]} == expected
        row = rows.stop


def test_classifier_scores_the_chosen_spans_as_it_would_among_all():
    lengths = [5, 0, 3]
    tokens, spans = make_tokens(lengths), all_spans(lengths, required={(0, 1, 5)})
    module = make_classifier(proposer=make_proposer())
    few = module(tokens, spans)
    assert few.spans.lengths.tolist() == [4, 0, 3]  # half the tokens and one more
    assert few.spans.required.sum() == 1
    everything = module(tokens, spans._replace(required=torch.ones(len(spans.starts)).bool()))
    ids = few.spans.sequence_ids(), spans.sequence_ids()
    places = {
        (int(doc), int(start), int(end)): row
        for row, (doc, start, end) in enumerate(zip(ids[1], spans.starts, spans.ends, strict=True))
    }
    rows = [
        places[int(doc), int(start), int(end)]
        for doc, start, end in zip(ids[0], few.spans.starts, few.spans.ends, strict=True)
    ]
    torch.testing.assert_close(few.values, everything.values[rows])


def test_untrained_classifier_finds_nothing():
    values = make_classifier()(make_tokens([6]), all_spans([6])).values
    assert (values.sigmoid() < 0.5).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"per_token": -1.0}, "must not be negative, and one of them must be above 0, got per_t"),
        ({"per_token": 0.0, "at_least": 0}, "must not be negative, and one of them must be above"),
    ],
)
def test_proposer_refuses_a_budget_of_nothing(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_proposer(**wrong)
