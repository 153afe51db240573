"""The best tree, against all trees of small sentences and against networkx."""

from itertools import product

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.structured import arborescence
from spacy_torch.nn.structured.arborescence import are_trees, find_tree, find_trees


def is_single_rooted_tree(heads: list[int]) -> bool:
    """By the definition: one root, which every token reaches in as many steps as there are."""
    roots = [token for token, head in enumerate(heads) if head == token]
    if len(roots) != 1:
        return False
    for token in range(len(heads)):
        for _ in heads:
            token = heads[token]
        if token != roots[0]:
            return False
    return True


def weigh(scores: torch.Tensor, heads: list[int]) -> float:
    return sum(float(scores[token, head]) for token, head in enumerate(heads))


def all_trees(n_tokens: int) -> list[list[int]]:
    every = product(range(n_tokens), repeat=n_tokens)
    return [list(heads) for heads in every if is_single_rooted_tree(list(heads))]


def best_by_networkx(scores: torch.Tensor) -> float:
    """The best arborescence below each possible root in turn."""
    n_tokens = len(scores)
    weights = []
    for root in range(n_tokens):
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(n_tokens))
        for token, head in product(range(n_tokens), repeat=2):
            if head != token and token != root:
                graph.add_edge(head, token, weight=float(scores[token, head]))
        tree = networkx.maximum_spanning_arborescence(graph)
        weights.append(tree.size(weight="weight") + float(scores[root, root]))
    return max(weights)


@st.composite
def score_matrices(draw: st.DrawFn, most: int) -> torch.Tensor:
    """Small whole numbers, for ties, or normal ones."""
    n_tokens = draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    scores = torch.randn(n_tokens, n_tokens, generator=generator, dtype=torch.float64)
    return (scores * 2).round() if draw(st.booleans()) else scores


def test_number_of_trees_is_cayleys():
    # n ** (n - 2) trees without a root, each with n choices of one.
    assert [len(all_trees(n)) for n in (1, 2, 3, 4, 5)] == [1, 2, 9, 64, 625]


TREES = {n: all_trees(n) for n in range(1, 6)}


@given(score_matrices(most=5))
@settings(max_examples=80, deadline=None)
def test_tree_is_the_best_of_all(scores):
    found = find_tree(scores)
    assert is_single_rooted_tree(found)
    best = max(weigh(scores, heads) for heads in TREES[len(scores)])
    assert weigh(scores, found) == pytest.approx(best)


@given(score_matrices(most=14))
@settings(max_examples=25, deadline=None)
def test_tree_weighs_as_much_as_that_of_networkx(scores):
    found = find_tree(scores)
    assert is_single_rooted_tree(found)
    assert weigh(scores, found) == pytest.approx(best_by_networkx(scores))


@given(st.lists(score_matrices(most=9), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_batch_gives_what_each_sentence_gives_alone(matrices):
    longest = max(map(len, matrices))
    scores = torch.full((len(matrices), longest, longest), 100.0, dtype=torch.float64)
    for place, matrix in enumerate(matrices):
        scores[place, : len(matrix), : len(matrix)] = matrix
    lengths = torch.tensor([len(matrix) for matrix in matrices])
    heads = find_trees(scores, lengths).tolist()
    for matrix, row in zip(matrices, heads, strict=True):
        assert row[len(matrix) :] == list(range(len(matrix), longest))
        found = row[: len(matrix)]
        assert is_single_rooted_tree(found)
        assert weigh(matrix, found) == pytest.approx(weigh(matrix, find_tree(matrix)))


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 4])
def test_trees_are_told_from_other_graphs(n_tokens):
    every = [list(heads) for heads in product(range(n_tokens), repeat=n_tokens)]
    # With one more position, which is no token and leads anywhere.
    heads = torch.tensor([[*row, 0] for row in every])
    found = are_trees(heads, torch.full((len(every),), n_tokens))
    assert found.tolist() == [is_single_rooted_tree(row) for row in every]


def test_deep_chain_is_a_tree():
    heads = torch.arange(-1, 99).clamp(min=0).unsqueeze(0)
    assert are_trees(heads, torch.tensor([100])).tolist() == [True]


def test_two_good_roots_become_one():
    # Each token wants to be root; giving up that of the second costs least.
    scores = torch.tensor([[9.0, 0.0], [5.0, 8.0]])
    assert find_trees(scores.unsqueeze(0), torch.tensor([2])).tolist() == [[0, 0]]


def test_cycles_inside_cycles_are_solved():
    # Two pairs that prefer each other, and then each other's pair, before any root.
    scores = torch.full((4, 4), -50.0)
    for token, head in [(0, 1), (1, 0), (2, 3), (3, 2)]:
        scores[token, head] = 10.0
    scores[1, 2] = scores[3, 0] = 5.0
    scores[2, 2] = -20.0
    assert find_tree(scores) == [1, 2, 2, 2]


def test_long_sentence_of_random_scores_is_a_tree():
    scores = torch.randn(300, 300)
    heads = torch.tensor([find_tree(scores)])
    assert are_trees(heads, torch.tensor([300])).tolist() == [True]


def test_nothing_has_an_empty_tree():
    assert find_tree(torch.zeros(0, 0)) == []
    no_tokens = find_trees(torch.zeros(0, 0, 0), torch.zeros(0, dtype=torch.int64))
    assert no_tokens.shape == (0, 0)


def test_scores_that_are_no_numbers_are_refused():
    scores = torch.zeros(2, 2)
    scores[0, 1] = torch.nan
    with pytest.raises(ValueError, match="must be finite, got 1 of 4 that are not"):
        find_tree(scores)


@given(score_matrices(most=12))
@settings(max_examples=40, deadline=None)
def test_roots_one_by_one_and_all_at_once_give_the_same_weight(scores):
    found = []
    for most_roots in (0, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arborescence, "MOST_ROOTS", most_roots)
            tree = find_tree(scores)
        assert is_single_rooted_tree(tree)
        found.append(weigh(scores, tree))
    assert found[0] == pytest.approx(found[1])
