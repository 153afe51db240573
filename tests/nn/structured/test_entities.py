"""Entities in a chain: legal paths, partial annotation, rejected spans and probabilities."""

import pytest
import torch
from chain_paths import all_paths, entities_of, entity_chains, is_legal, path_score
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.biluo import Spans, count_labels, find_spans, keep_legal
from spacy_torch.nn.structured.chain import TagScores, Transitions
from spacy_torch.nn.structured.crf import build_lattice
from spacy_torch.nn.structured.partial import UNKNOWN, entity_loss
from spacy_torch.nn.structured.span_marginals import SpanMarginals, choose_apart
from spacy_torch.nn.structured.viterbi import best_paths

close = torch.testing.assert_close


def legal_paths(length: int, n_tags: int) -> list[tuple[int, ...]]:
    return [path for path in all_paths(length, n_tags) if is_legal(path)]


def to_spans(entities: list[tuple[int, int, int]]) -> Spans:
    return Spans(*torch.tensor(entities, dtype=torch.int64).reshape(-1, 3).unbind(1))


@st.composite
def annotated(draw: st.DrawFn, *, rejecting: bool) -> tuple[TagScores, torch.Tensor, list]:
    """Scores, tags of a legal path some of which are unknown, and rejected entities."""
    scores = draw(entity_chains())
    lengths = scores.emissions.lengths.tolist()
    n_tags = len(scores.transitions.start)
    tags, rejected, first = [], [], 0
    for length in lengths:
        path = draw(st.sampled_from(legal_paths(length, n_tags)))
        entities = entities_of(path)
        known = draw(st.lists(st.booleans(), min_size=length, max_size=length))
        tags += [tag if is_known else UNKNOWN for tag, is_known in zip(path, known, strict=True)]
        for _ in range(draw(st.integers(0, 4)) if rejecting and length else 0):
            start = draw(st.integers(0, length - 1))
            end = draw(st.integers(start + 1, length))
            label = draw(st.integers(0, count_labels(n_tags) - 1))
            if (start, end, label) not in entities:
                rejected.append((first + start, first + end, label))
        first += length
    return scores, torch.tensor(tags, dtype=torch.int64), rejected


def enumerate_loss(scores: TagScores, tags: torch.Tensor, rejected: list) -> torch.Tensor:
    emissions, transitions = scores
    loss, first = emissions.values.sum() * 0, 0
    for rows in emissions.split():
        own = tags[first : first + len(rows)].tolist()
        wrong = {(s - first, e - first, label) for s, e, label in rejected}
        paths = legal_paths(len(rows), rows.shape[1])
        agreeing = [
            path
            for path in paths
            if all(tag in (UNKNOWN, found) for tag, found in zip(own, path, strict=True))
            and not entities_of(path) & wrong
        ]
        every, some = (
            torch.stack([path_score(rows, transitions, path) for path in which]).logsumexp(0)
            for which in (paths, agreeing)
        )
        loss = loss + every - some
        first += len(rows)
    return loss


def assert_loss_and_gradient(scores: TagScores, tags: torch.Tensor, rejected: list) -> None:
    emissions, transitions = scores
    gradients = []
    for loss_of in (
        lambda scores: entity_loss(scores, tags, to_spans(rejected)),
        lambda scores: enumerate_loss(scores, tags, rejected),
    ):
        leaves = [tensor.clone().requires_grad_() for tensor in (emissions.values, *transitions)]
        loss = loss_of(TagScores(Ragged(leaves[0], emissions.lengths), Transitions(*leaves[1:])))
        loss.backward()
        zeros = [torch.zeros_like(leaf) for leaf in leaves]
        found = [
            z if leaf.grad is None else leaf.grad for leaf, z in zip(leaves, zeros, strict=True)
        ]
        gradients.append([loss.detach(), *found])
    for ours, theirs in zip(*gradients, strict=True):
        close(ours, theirs)


@settings(deadline=None)
@given(annotated(rejecting=False))
def test_partial_annotation_is_learned_by_summing_over_what_it_leaves_open(case):
    assert_loss_and_gradient(*case)


@settings(deadline=None)
@given(annotated(rejecting=True))
def test_rejected_spans_leave_the_paths_without_them(case):
    assert_loss_and_gradient(*case)


def test_sequences_of_which_nothing_is_known_get_no_gradient():
    values = torch.randn(5, 5, requires_grad=True)
    scores = TagScores(
        Ragged(values, torch.tensor([2, 3])),
        Transitions(torch.zeros(5, 5), torch.zeros(5), torch.zeros(5)),
    )
    tags = torch.tensor([0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN])
    entity_loss(scores, tags).backward()
    assert values.grad[:2].any()
    assert not values.grad[2:].any()
    loss = entity_loss(scores, torch.full((5,), UNKNOWN))
    assert loss.item() == 0
    assert loss.requires_grad


@settings(deadline=None)
@given(entity_chains())
def test_legal_transitions_leave_the_paths_of_whole_entities(scores):
    emissions, transitions = scores
    tags = best_paths(emissions, keep_legal(transitions))
    for rows, path in zip(
        emissions.split(), torch.split(tags, emissions.lengths.tolist()), strict=True
    ):
        paths = legal_paths(len(rows), rows.shape[1])
        found = path_score(rows, transitions, tuple(path.tolist()))
        close(found, max(path_score(rows, transitions, each) for each in paths))


@settings(deadline=None)
@given(entity_chains())
def test_spans_of_a_path_are_its_entities(scores):
    tags = best_paths(scores.emissions, keep_legal(scores.transitions))
    found = list(zip(*(part.tolist() for part in find_spans(tags)), strict=True))
    expected, first = [], 0
    for path in torch.split(tags, scores.emissions.lengths.tolist()):
        entities = sorted(entities_of(tuple(path.tolist())))
        expected += [(first + start, first + end, label) for start, end, label in entities]
        first += len(path)
    assert found == expected


def enumerate_spans(scores: TagScores) -> dict[tuple[int, int, int], float]:
    """The probability of every entity that any legal path has."""
    emissions, transitions = scores
    found: dict[tuple[int, int, int], float] = {}
    first = 0
    for rows in emissions.split():
        paths = legal_paths(len(rows), rows.shape[1])
        logs = torch.stack([path_score(rows, transitions, path) for path in paths])
        for path, p in zip(paths, logs.softmax(0).tolist(), strict=True):
            for start, end, label in entities_of(path):
                span = (first + start, first + end, label)
                found[span] = found.get(span, 0.0) + p
        first += len(rows)
    return found


@settings(deadline=None)
@given(entity_chains())
def test_span_probabilities_are_those_of_the_paths_that_hold_them(scores):
    expected = enumerate_spans(scores)
    marginals = SpanMarginals(build_lattice(scores.emissions, keep_legal(scores.transitions)))
    found = marginals(to_spans(list(expected)))
    assert found.tolist() == pytest.approx(list(expected.values()))


@settings(deadline=None)
@given(entity_chains(), st.sampled_from([0.02, 0.2, 0.6]))
def test_likely_spans_are_all_those_above_the_floor(scores, floor):
    marginals = SpanMarginals(build_lattice(scores.emissions, keep_legal(scores.transitions)))
    found = list(zip(*(part.tolist() for part in marginals.likely(floor)), strict=True))
    expected = [span for span, p in enumerate_spans(scores).items() if p >= floor]
    assert sorted(found) == sorted(expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.integers(0, 5)), max_size=12))
def test_spans_chosen_are_those_taken_one_by_one(cases):
    entities = [(start, start + length, 0) for start, length, _ in cases]
    probabilities = torch.tensor([tenths / 10 for _, _, tenths in cases])
    taken: set[int] = set()
    expected = [False] * len(cases)
    for number in sorted(range(len(cases)), key=lambda n: (-cases[n][2], n)):
        rows = set(range(*entities[number][:2]))
        expected[number] = not rows & taken
        taken |= rows if expected[number] else set()
    assert choose_apart(to_spans(entities), probabilities).tolist() == expected


def test_token_that_cannot_be_inside_breaks_the_spans_across_it():
    values = torch.zeros(4, 5)
    values[1, 2] = -torch.inf
    chain = Transitions(torch.zeros(5, 5), torch.zeros(5), torch.zeros(5))
    lattice = build_lattice(Ragged(values, torch.tensor([4])), keep_legal(chain))
    found = SpanMarginals(lattice)(to_spans([(0, 3, 0), (0, 4, 0), (1, 4, 0), (0, 2, 0)]))
    assert found[:2].tolist() == [0.0, 0.0]
    assert (found[2:] > 0).all()


@pytest.mark.parametrize("floor", [0.0, -1.0, 1.5])
def test_floor_outside_its_range_is_refused(floor):
    chain = Transitions(torch.zeros(5, 5), torch.zeros(5), torch.zeros(5))
    lattice = build_lattice(Ragged(torch.zeros(1, 5), torch.tensor([1])), keep_legal(chain))
    with pytest.raises(ValueError, match="floor must be above 0 and at most 1"):
        SpanMarginals(lattice).likely(floor)
