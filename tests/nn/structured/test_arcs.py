"""Scores of arcs and what is learned from them, against the formulas written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from spacy_torch.nn.structured import arcs as arcs_module
from spacy_torch.nn.structured.arcs import (
    DISTANCES,
    N_DISTANCES,
    ArcFactors,
    batch_sentences,
    kinds_of_distance,
)
from spacy_torch.nn.structured.parses import arc_loss, find_arcs, label_loss, start_loss


def make_factors(n_tokens: int, *, arc: int = 3, width: int = 2, n_labels: int = 4) -> ArcFactors:
    return ArcFactors(
        starts=torch.randn(n_tokens),
        roots=torch.randn(n_tokens),
        dependents=torch.randn(n_tokens, arc),
        heads=torch.randn(n_tokens, arc),
        dependent_distances=torch.randn(n_tokens, N_DISTANCES),
        head_distances=torch.randn(n_tokens, N_DISTANCES),
        label_dependents=torch.randn(n_tokens, width),
        label_heads=torch.randn(n_tokens, width),
        label_root=torch.randn(width),
        label_weights=torch.randn(width + 1, width + 1, n_labels),
    )


def kind_of_distance(offset: int) -> int:
    """Of one pair, counted out: how many ends the distance is beyond, and the side."""
    beyond = sum(abs(offset) > end for end in DISTANCES)
    return beyond + (len(DISTANCES) + 1 if offset > 0 else 0)


def score_arc(factors: ArcFactors, dependent: int, head: int, sentence: list[int]) -> float:
    if dependent == head:
        return float(factors.roots[dependent])
    kind = kind_of_distance(sentence.index(head) - sentence.index(dependent))
    score = factors.dependents[dependent] @ factors.heads[head]
    score += factors.dependent_distances[dependent, kind] + factors.head_distances[head, kind]
    return float(score)


def test_distances_are_told_apart_by_their_side_and_size():
    n_places = max(DISTANCES) + 5
    kinds = kinds_of_distance(n_places)
    assert kinds.tolist() == [
        [kind_of_distance(head - dependent) for head in range(n_places)]
        for dependent in range(n_places)
    ]
    assert kinds.unique().tolist() == list(range(N_DISTANCES))


def score_label(factors: ArcFactors, dependent: int, head: int, label: int) -> float:
    d = torch.cat([factors.label_dependents[dependent], torch.ones(1)])
    of_head = factors.label_root if dependent == head else factors.label_heads[head]
    h = torch.cat([of_head, torch.ones(1)])
    return float(d @ factors.label_weights[:, :, label] @ h)


@given(st.lists(st.integers(1, 7), max_size=8), st.sampled_from([1, 30, 10**6]))
@settings(max_examples=40, deadline=None)
def test_every_sentence_is_in_one_batch_with_its_own_rows(lengths, most_cells):
    rows = torch.arange(sum(lengths)) * 2 + 1  # every other token of the documents
    expected = sorted(map(tuple, (part.tolist() for part in rows.split(lengths))))
    batches = batch_sentences(rows, lengths, most_cells=most_cells)
    found = [
        tuple(row[:length])
        for batch in batches
        for row, length in zip(batch.rows.tolist(), batch.lengths.tolist(), strict=True)
    ]
    assert sorted(found) == expected
    for batch in batches:
        assert batch.rows.shape[1] == batch.lengths.max()
        assert len(batch.rows) == 1 or batch.rows.shape[1] * batch.rows.numel() <= most_cells


def test_arcs_are_scored_within_their_sentences_only():
    factors = make_factors(6)
    (batch,) = batch_sentences(torch.tensor([0, 1, 3, 4, 5]), [2, 3])
    scores = factors.score_arcs(batch)
    for place, sentence in enumerate(([0, 1], [3, 4, 5])):
        for i, dependent in enumerate(sentence):
            found = scores[place, i].tolist()
            expected = [score_arc(factors, dependent, head, sentence) for head in sentence]
            assert found[: len(sentence)] == pytest.approx(expected, abs=1e-5)
            assert found[len(sentence) :] == [-torch.inf] * (3 - len(sentence))


@pytest.mark.parametrize("most_arcs", [1, 2, 100])
def test_labels_are_scored_by_the_biaffine_formula(monkeypatch, most_arcs):
    monkeypatch.setattr(arcs_module, "MOST_ARCS", most_arcs)
    factors = make_factors(4)
    pairs = [(0, 1), (1, 1), (3, 0)]
    scores = factors.score_labels(*torch.tensor(pairs).T)
    for row, pair in zip(scores.tolist(), pairs, strict=True):
        assert row == pytest.approx([score_label(factors, *pair, k) for k in range(4)], abs=1e-5)


def test_no_arcs_have_no_labels():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert make_factors(0).score_labels(nothing, nothing).shape == (0, 4)


def test_losses_are_those_of_the_known_tokens():
    factors = make_factors(5)
    batches = batch_sentences(torch.tensor([0, 1, 2, 4]), [3, 1])
    heads = torch.tensor([1, 1, -1, -1, 4])
    labels = torch.tensor([2, -1, 3, 3, 0])
    expected = 0.0
    for dependent, head, sentence in [(0, 1, [0, 1, 2]), (1, 1, [0, 1, 2]), (4, 4, [4])]:
        scores = torch.tensor([score_arc(factors, dependent, each, sentence) for each in sentence])
        expected -= float(scores.log_softmax(0)[sentence.index(head)])
    assert float(arc_loss(factors, batches, heads)) == pytest.approx(expected, abs=1e-5)
    expected = 0.0
    for dependent, head, label in [(0, 1, 2), (4, 4, 0)]:
        scores = torch.tensor([score_label(factors, dependent, head, k) for k in range(4)])
        expected -= float(scores.log_softmax(0)[label])
    assert float(label_loss(factors, heads, labels)) == pytest.approx(expected, abs=1e-5)
    starts = torch.tensor([1, 0, -1, -1, 1])
    probabilities = factors.starts.sigmoid()
    expected = -(probabilities[0].log() + (1 - probabilities[1]).log() + probabilities[4].log())
    assert float(start_loss(factors, starts)) == pytest.approx(float(expected), abs=1e-5)


def test_nothing_known_is_a_loss_of_zero():
    factors = ArcFactors(*(factor.requires_grad_() for factor in make_factors(3)))
    unknown = torch.full((3,), -1)
    batches = batch_sentences(torch.arange(3), [3])
    loss = arc_loss(factors, batches, unknown) + label_loss(factors, unknown, unknown)
    loss = loss + start_loss(factors, unknown)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(factor.grad is None or not factor.grad.any() for factor in factors)


def test_arcs_found_are_the_best_heads_with_their_probabilities():
    factors = make_factors(5)
    factors = factors._replace(roots=torch.tensor([9.0, -9.0, -9.0, 9.0, -9.0]))
    lengths = [3, 2]
    arcs = find_arcs(factors, batch_sentences(torch.arange(5), lengths))
    assert sorted(arcs.dependents.tolist()) == [0, 1, 2, 3, 4]
    heads = dict(zip(arcs.dependents.tolist(), arcs.heads.tolist(), strict=True))
    assert (heads[0], heads[3], heads[4]) == (0, 3, 3)
    for dependent, head, log_prob in zip(*(part.tolist() for part in arcs), strict=True):
        sentence = [0, 1, 2] if dependent < 3 else [3, 4]
        scores = torch.tensor([score_arc(factors, dependent, each, sentence) for each in sentence])
        expected = F.log_softmax(scores, 0)[sentence.index(head)]
        assert log_prob == pytest.approx(float(expected), abs=1e-5)


def test_no_sentences_have_no_arcs():
    assert [len(part) for part in find_arcs(make_factors(2), [])] == [0, 0, 0]
