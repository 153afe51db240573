"""The best tree over the tokens of a sentence, given a score for each possible arc."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# How many roots of a sentence are tried one by one.
MOST_ROOTS = 4


def find_trees(
    scores: Float[Tensor, "batch token token"], lengths: Int[Tensor, " batch"]
) -> Int[Tensor, "batch token"]:
    """The head of each token in the best tree with exactly one root.

    Each token's best head is looked up for the whole batch at once, and where these are a
    tree already, it is the best one. The other sentences are solved one by one with
    `find_tree`, which takes time and memory quadratic in their length.

    Args:
        scores: of each dependent (second axis) with each head (third axis); the diagonal is
            the score as root. What lies beyond a sentence's length does not matter.
        lengths: the number of tokens of each sentence, at least one.

    Returns:
        Positions in the sentence; the root, and every position beyond a sentence's length, is
        its own head.
    """
    positions = torch.arange(scores.shape[1], device=scores.device)
    inside = positions < lengths.unsqueeze(1)  # batch, token
    if not scores.numel():
        return positions.expand(inside.shape)
    heads = scores.masked_fill(~inside.unsqueeze(1), -torch.inf).argmax(2)
    heads = torch.where(inside, heads, positions)
    others = (~are_trees(heads, lengths)).nonzero()[:, 0]
    if len(others):
        trees = numpy.arange(heads.shape[1])[None].repeat(len(others), 0)
        for tree, weights, length in zip(
            trees, _to_numpy(scores[others]), _ints(lengths[others]), strict=True
        ):
            tree[:length] = _find_tree(weights[:length, :length])
        heads[others] = torch.as_tensor(trees, device=heads.device)
    return heads


def are_trees(
    heads: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Whether the heads of each sentence lead from all tokens to one root.

    Args:
        heads: positions in the sentence; a token that is its own head is a root.
        lengths: the number of tokens of each sentence; those beyond it are not looked at.
    """
    n_tokens = heads.shape[1]
    positions = torch.arange(n_tokens, device=heads.device)
    inside = positions < lengths.unsqueeze(1)
    is_root = (heads == positions) & inside
    ancestors = heads
    for _ in range(max(n_tokens - 1, 0).bit_length()):  # each round doubles the steps taken
        ancestors = ancestors.gather(1, ancestors)
    reaches_root = is_root.gather(1, ancestors) | ~inside
    return reaches_root.all(1) & (is_root.sum(1) == 1)


def find_tree(scores: Float[Tensor, "token token"]) -> list[int]:
    """The head of each token in the best tree of one sentence, by Chu-Liu/Edmonds.

    The roots are tried in the order of what their trees could weigh at most, until none that
    is left could be better: mostly one or two. After `MOST_ROOTS` of them all are made so much
    worse that the best arborescence has one root only, and that of the best tree (Stanojević
    and Cohen 2021, https://aclanthology.org/2021.emnlp-main.823). Either way time and memory are
    at most quadratic in the number of tokens.

    Args:
        scores: as in `find_trees`, for the tokens of one sentence.

    Returns:
        As in `find_trees`; an empty list without tokens.

    Raises:
        ValueError: a score is infinite or not a number.
    """
    return _find_tree(_to_numpy(scores))


def _to_numpy(scores: Tensor) -> NDArray[numpy.float64]:
    # Every step looks at a few dozen numbers, for which torch's calls take longer than the
    # arithmetic, and numpy's a fraction of that.
    return scores.detach().to("cpu", torch.float64, copy=True).numpy()


def _find_tree(weights: NDArray[numpy.float64]) -> list[int]:
    n_tokens = len(weights)
    if n_tokens < 2:
        return [0] * n_tokens
    if not numpy.isfinite(weights).all():
        wrong = int((~numpy.isfinite(weights)).sum())
        raise ValueError(
            f"the scores of arcs must be finite, got {wrong} of {weights.size} that are not: "
            "look for NaN in the weights or the input of the parser"
        )
    penalty = (weights.max() - weights.min()) * n_tokens + 1
    tokens = numpy.arange(n_tokens)
    roots = weights[tokens, tokens]
    numpy.fill_diagonal(weights, -numpy.inf)
    best = weights.max(1)
    bounds = roots - best + best.sum()
    order = numpy.argsort(-bounds, kind="stable")
    tree: list[int] = []
    weight = -numpy.inf
    for root in order[:MOST_ROOTS]:
        if weight >= bounds[root]:
            return tree
        only = numpy.full(n_tokens, -numpy.inf)
        only[root] = roots[root]
        under_root = numpy.column_stack([weights, only])
        under_root[root, :-1] = -numpy.inf
        heads = _Contraction(under_root).solve()
        found = numpy.where(heads == tokens, roots, weights[tokens, heads]).sum()
        if found > weight:
            tree, weight = heads.tolist(), found
    if n_tokens > MOST_ROOTS and weight < bounds[order[MOST_ROOTS]]:
        tree = _Contraction(numpy.column_stack([weights, roots - penalty])).solve().tolist()
    return tree


def _ints(values: Tensor) -> list[int]:
    return cast("list[int]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


class _Contraction:
    """The graph of one sentence while its cycles are contracted.

    Cycles of best heads are contracted along one growing path (Gabow, Galil, Spencer and Tarjan
    1986, https://doi.org/10.1007/BF02579168), which takes quadratic time in a dense graph. A
    contracted cycle lives on in the row and column of one of its members. An arc is a
    number, that of its cell in the beginning: it tells dependent and head. For each cell the
    arc is kept that it stands for.

    Args:
        weights: of each token (row) under each token or, in the last column, the root.
    """

    def __init__(self, weights: NDArray[numpy.float64]) -> None:
        self.root = len(weights)
        self.weights = weights
        self.rows = numpy.arange(self.root)
        self.columns = numpy.arange(self.root + 1)
        self.arcs = self.rows[:, None] * len(self.columns) + self.columns
        best = weights.argmax(1)
        self.gains = weights[self.rows, best]
        self.best: list[int] = best.tolist()
        # Of each node: tokens, then cycles.
        self.chosen: list[int] = self.arcs[self.rows, best].tolist()
        self.node_of_row = list(range(self.root))
        self.parents: dict[int, int] = {}  # the cycle that a node is in
        self.absorbed = list(range(self.root + 1))  # by which row

    def solve(self) -> NDArray[numpy.int64]:
        """The head of each token; the tokens under the root are their own."""
        done = [False] * self.root + [True]
        for start in range(self.root):
            path: list[int] = []
            places: dict[int, int] = {}
            current = self._alive(start)
            while not done[current]:
                if current in places:
                    cycle = path[places[current] :]
                    del path[places[current] :]
                    for row in cycle:
                        del places[row]
                    self._contract(cycle, into=current)
                places[current] = len(path)
                path.append(current)
                current = self._alive(self.best[current])
            for row in path:
                done[row] = True
        heads = numpy.array(self._expand()) % len(self.columns)
        return numpy.where(heads == self.root, self.rows, heads)

    def _alive(self, row: int) -> int:
        while self.absorbed[row] != row:
            self.absorbed[row] = self.absorbed[self.absorbed[row]]
            row = self.absorbed[row]
        return row

    def _contract(self, cycle: list[int], *, into: int) -> None:
        rows = numpy.array(cycle)
        # Arcs to the cycle: each would replace the arc that its dependent has in the cycle.
        entering = self.weights[rows] - self.gains[rows, None]
        member = entering.argmax(0)
        self.weights[into] = entering[member, self.columns]
        self.arcs[into] = self.arcs[rows[member], self.columns]
        # Arcs from the cycle.
        leaving = self.weights[:, rows]
        member = leaving.argmax(1)
        self.weights[:, rows] = -numpy.inf
        self.weights[:, into] = leaving[self.rows, member]
        self.arcs[:, into] = self.arcs[self.rows, rows[member]]
        self.weights[into, into] = -numpy.inf
        cycle_node = len(self.chosen)
        for row in cycle:
            self.parents[self.node_of_row[row]] = cycle_node
            self.absorbed[row] = into
        self.node_of_row[into] = cycle_node
        best = int(self.weights[into].argmax())
        self.best[into] = best
        self.gains[into] = self.weights[into, best]
        self.chosen.append(int(self.arcs[into, best]))

    def _expand(self) -> list[int]:
        """Hand the arc of each cycle down to the member that it enters, the outermost first."""
        for cycle_node in range(len(self.chosen) - 1, self.root - 1, -1):
            member = self.chosen[cycle_node] // len(self.columns)
            while self.parents[member] != cycle_node:
                member = self.parents[member]
            self.chosen[member] = self.chosen[cycle_node]
        return self.chosen[: self.root]
