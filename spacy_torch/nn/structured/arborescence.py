"""The best tree over the tokens of a sentence, given a score for each possible arc."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
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
    for place in _ints((~are_trees(heads, lengths)).nonzero()[:, 0]):
        length = int(lengths[place])
        tree = find_tree(scores[place, :length, :length].detach())
        heads[place, :length] = torch.tensor(tree, device=heads.device)
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
    n_tokens = len(scores)
    if n_tokens < 2:
        return [0] * n_tokens
    weights = scores.to("cpu", torch.float64, copy=True)
    if not bool(weights.isfinite().all()):
        raise ValueError(
            "the scores of arcs must be finite, got "
            f"{int((~weights.isfinite()).sum())} of {weights.numel()} that are not: look for "
            "NaN in the weights or the input of the parser"
        )
    lowest, highest = torch.aminmax(weights)
    roots = weights.diagonal().clone()
    weights.diagonal().fill_(-torch.inf)
    best = weights.max(1).values
    bounds, order = (roots - best + best.sum()).sort(descending=True)
    tree: list[int] = []
    weight = -torch.inf
    for bound, root in zip(_floats(bounds), _ints(order[:MOST_ROOTS]), strict=False):
        if weight >= bound:
            return tree
        only = torch.full_like(roots, -torch.inf)
        only[root] = roots[root]
        other = torch.cat([weights, only.unsqueeze(1)], 1)
        other[root, :-1] = -torch.inf
        heads = _Contraction(other).solve()
        found = _weigh(heads, weights, roots)
        if found > weight:
            tree, weight = heads, found
    if n_tokens > MOST_ROOTS and weight < float(bounds[MOST_ROOTS]):
        penalty = (highest - lowest) * n_tokens + 1
        tree = _Contraction(torch.cat([weights, (roots - penalty).unsqueeze(1)], 1)).solve()
    return tree


def _weigh(heads: list[int], weights: Tensor, roots: Tensor) -> float:
    tokens = torch.arange(len(heads))
    of_arcs = weights[tokens, torch.tensor(heads)]
    return float(torch.where(torch.tensor(heads) == tokens, roots, of_arcs).sum())


def _ints(values: Tensor) -> list[int]:
    return cast("list[int]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


def _floats(values: Tensor) -> list[float]:
    return cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


class _Contraction:
    """The graph of one sentence while its cycles are contracted.

    Cycles of best heads are contracted along one growing path (Gabow, Galil, Spencer and Tarjan
    1986, https://doi.org/10.1007/BF02579168), which takes quadratic time in a dense graph. A
    contracted cycle lives on in the row and column of one of its members. An arc is a
    pair of tokens, dependent and head; for each cell the arc is kept that it stands for.

    Args:
        weights: of each token (row) under each token or, in the last column, the root.
    """

    def __init__(self, weights: Float[Tensor, "token head"]) -> None:
        self.root = len(weights)
        self.weights = weights
        shape = weights.shape
        self.dependents = torch.arange(shape[0]).unsqueeze(1).expand(shape).clone()
        self.heads = torch.arange(shape[1]).expand(shape).clone()
        gains, best = weights.max(1)
        self.gains = _floats(gains)
        self.best = _ints(best)
        self.arcs = list(enumerate(self.best))  # of each node: tokens, then cycles
        self.node_of_row = list(range(self.root))
        self.parents: dict[int, int] = {}  # the cycle that a node is in
        self.absorbed = list(range(self.root + 1))  # by which row

    def solve(self) -> list[int]:
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
        return [token if head == self.root else head for token, head in enumerate(self._expand())]

    def _alive(self, row: int) -> int:
        while self.absorbed[row] != row:
            self.absorbed[row] = self.absorbed[self.absorbed[row]]
            row = self.absorbed[row]
        return row

    def _contract(self, cycle: list[int], *, into: int) -> None:
        rows = torch.tensor(cycle)
        # Arcs to the cycle: each would replace the arc that its dependent has in the cycle.
        gains = self.weights.new_tensor([self.gains[row] for row in cycle])
        entering = (self.weights[rows] - gains.unsqueeze(1)).max(0)
        chosen = rows[entering.indices].unsqueeze(0)
        self.weights[into] = entering.values
        self.dependents[into] = self.dependents.gather(0, chosen)[0]
        self.heads[into] = self.heads.gather(0, chosen)[0]
        # Arcs from the cycle.
        leaving = self.weights[:, rows].max(1)
        chosen = rows[leaving.indices].unsqueeze(1)
        self.weights[:, rows] = -torch.inf
        self.weights[:, into] = leaving.values
        self.dependents[:, into] = self.dependents.gather(1, chosen)[:, 0]
        self.heads[:, into] = self.heads.gather(1, chosen)[:, 0]
        self.weights[into, into] = -torch.inf
        cycle_node = len(self.arcs)
        for row in cycle:
            self.parents[self.node_of_row[row]] = cycle_node
            self.absorbed[row] = into
        self.node_of_row[into] = cycle_node
        best = int(self.weights[into].argmax())
        self.best[into] = best
        self.gains[into] = float(self.weights[into, best])
        self.arcs.append((int(self.dependents[into, best]), int(self.heads[into, best])))

    def _expand(self) -> list[int]:
        """Hand the arc of each cycle down to the member that it enters, the outermost first."""
        for cycle_node in range(len(self.arcs) - 1, self.root - 1, -1):
            member = self.arcs[cycle_node][0]
            while self.parents[member] != cycle_node:
                member = self.parents[member]
            self.arcs[member] = self.arcs[cycle_node]
        return [head for _, head in self.arcs[: self.root]]
