"""Chains, held against going through all of their paths."""

import pytest
import torch
from chain_paths import all_paths, chains, path_score
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.chain import TagScores, Transitions
from spacy_torch.nn.structured.crf import log_partition, score_paths, tag_marginals
from spacy_torch.nn.structured.viterbi import best_paths

CHAINS = chains(max_length=4, n_tags=st.integers(1, 4))
close = torch.testing.assert_close


def enumerate_log_z(scores: TagScores, allowed: torch.Tensor | None = None) -> torch.Tensor:
    emissions, transitions = scores
    masks = None if allowed is None else Ragged(allowed, emissions.lengths).split()
    totals = []
    for number, rows in enumerate(emissions.split()):
        paths = all_paths(len(rows), rows.shape[1])
        if masks is not None:
            paths = [p for p in paths if all(masks[number][place, t] for place, t in enumerate(p))]
        scored = [path_score(rows, transitions, path) for path in paths]
        totals.append(torch.stack(scored).logsumexp(0))
    return torch.stack(totals) if totals else emissions.values.new_zeros(0)


@st.composite
def masked_chains(draw: st.DrawFn) -> tuple[TagScores, torch.Tensor]:
    """Scores and allowed tags: at least one for each token."""
    scores = draw(CHAINS)
    shape = scores.emissions.values.shape
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    allowed = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.2, 0.5, 0.9]))
    if len(allowed):
        allowed[torch.arange(shape[0]), torch.randint(shape[1], shape[:1])] = True
    return scores, allowed


@settings(deadline=None)
@given(CHAINS)
def test_log_partition_is_the_sum_over_all_paths(scores):
    close(log_partition(*scores), enumerate_log_z(scores))


@settings(deadline=None)
@given(masked_chains())
def test_allowed_tags_leave_the_paths_through_them(masked):
    scores, allowed = masked
    close(log_partition(*scores, allowed), enumerate_log_z(scores, allowed))


@settings(deadline=None)
@given(masked_chains())
def test_gradient_is_that_of_the_enumeration(masked):
    (emissions, transitions), allowed = masked
    found, expected = (
        [tensor.clone().requires_grad_() for tensor in (emissions.values, *transitions)]
        for _ in range(2)
    )
    weights = torch.randn(len(emissions.lengths), dtype=torch.float64)

    def scores_of(leaves: list[torch.Tensor]) -> TagScores:
        return TagScores(Ragged(leaves[0], emissions.lengths), Transitions(*leaves[1:]))

    (log_partition(*scores_of(found), allowed) * weights).sum().backward()
    total = (enumerate_log_z(scores_of(expected), allowed) * weights).sum()
    if total.requires_grad:
        total.backward()
    for ours, theirs in zip(found, expected, strict=True):
        close(ours.grad, torch.zeros_like(theirs) if theirs.grad is None else theirs.grad)


@settings(deadline=None)
@given(CHAINS)
def test_marginals_are_the_gradient_of_the_log_partition(scores):
    emissions, transitions = scores
    values = emissions.values.clone().requires_grad_()
    log_partition(Ragged(values, emissions.lengths), transitions).sum().backward()
    close(tag_marginals(*scores), values.grad)


@settings(deadline=None)
@given(CHAINS)
def test_best_path_scores_highest_and_as_enumerated(scores):
    emissions, transitions = scores
    tags = best_paths(*scores)
    found = score_paths(emissions, transitions, tags)
    rows = emissions.split()
    paths = torch.split(tags, emissions.lengths.tolist())
    own = [path_score(r, transitions, tuple(p.tolist())) for r, p in zip(rows, paths, strict=True)]
    best = [
        max(path_score(r, transitions, path) for path in all_paths(len(r), r.shape[1]))
        for r in rows
    ]
    close(found, torch.stack(own) if own else found)
    close(found, torch.stack(best) if best else found)


@settings(deadline=None)
@given(CHAINS, st.randoms())
def test_neighbours_in_the_batch_and_their_order_change_nothing(scores, random):
    emissions, transitions = scores
    order = list(range(len(emissions.lengths)))
    random.shuffle(order)
    parts = emissions.split()
    values = torch.cat([parts[i] for i in order]) if order else emissions.values
    mixed = Ragged(values, emissions.lengths[order])
    close(log_partition(mixed, transitions), log_partition(*scores)[order])
    alone = [
        (log_partition(one, transitions), best_paths(one, transitions))
        for one in (Ragged(rows, torch.tensor([len(rows)])) for rows in parts)
    ]
    if alone:
        sums, paths = zip(*alone, strict=True)
        close(torch.cat(sums), log_partition(*scores))
        assert torch.equal(torch.cat(paths), best_paths(*scores))


def test_sequence_without_tokens_has_one_path_of_weight_one():
    nothing = Ragged(torch.zeros(0, 3), torch.tensor([0, 0]))
    transitions = Transitions(torch.ones(3, 3), torch.ones(3), torch.ones(3))
    assert log_partition(nothing, transitions).tolist() == [0.0, 0.0]
    assert best_paths(nothing, transitions).tolist() == []


def test_single_token_is_scored_by_start_emission_and_end():
    transitions = Transitions(
        torch.full((2, 2), 9.0), torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])
    )
    scores = Ragged(torch.tensor([[3.0, 4.0]]), torch.tensor([1]))
    expected = torch.tensor([1 + 3 + 0.5, 2 + 4 + 0.25], dtype=torch.float64).logsumexp(0)
    close(log_partition(scores, transitions)[0], expected)


def test_no_path_left_is_minus_infinity():
    scores = Ragged(torch.zeros(2, 2), torch.tensor([2]))
    forbidden = Transitions(torch.full((2, 2), -torch.inf), torch.zeros(2), torch.zeros(2))
    assert log_partition(scores, forbidden).item() == -torch.inf
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    free = Transitions(*(torch.zeros_like(part) for part in forbidden))
    assert log_partition(scores, free, nothing).item() == -torch.inf


@pytest.mark.parametrize("gap", [50.0, 300.0])
def test_tags_that_look_impossible_are_still_told_apart(gap):
    # The allowed path is worse by the gap at each of 200 tokens: far below what a float holds.
    values = torch.zeros(200, 2)
    values[:, 0] = gap
    scores = Ragged(values, torch.tensor([200]))
    transitions = Transitions(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2))
    allowed = torch.zeros(200, 2, dtype=torch.bool)
    allowed[:, 1] = True
    assert log_partition(scores, transitions, allowed).item() == pytest.approx(0.0, abs=1e-6)
    # One switch from the good tag to the bad one and back.
    allowed[:, 0] = True
    allowed[100, 0] = False
    assert log_partition(scores, transitions, allowed).item() == pytest.approx(199 * gap)
