"""Query strategies: which of many questions to ask next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Questions that could be asked.

    Attributes:
        probabilities: of the possible answers to each, shape (question, answer); the rows
            of a yes-or-no question are (no, yes).
        vectors: what each is about, shape (question, width), as far as the model has any:
            strategies that look for variety need them.
        draws: the probabilities of several versions of the model, as dropout makes them;
            shape (draw, question, answer).
        labels: the label that each yes-or-no question is about; None of other questions.
    """

    probabilities: Floats
    vectors: Floats | None = None
    draws: Floats | None = None
    labels: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.probabilities)


@dataclass(frozen=True)
class Strategy:
    """How to choose.

    Attributes:
        choose: `(candidates, number, random) -> places` of the questions to ask, the most
            wanted one first; never more than there are.
        needs_vectors: it raises an error without `Candidates.vectors`.
        n_draws: how many versions of the model it wants to hear.
        by_doubt: it goes by what the model is not sure of. As long as the model does no better
            than guessing, what it doubts is noise, and asking about that alone makes it sure of
            the wrong things: chance chooses until then.
    """

    choose: Callable[[Candidates, int, np.random.Generator], NDArray[np.int64]]
    needs_vectors: bool = False
    n_draws: int = 0
    by_doubt: bool = False


def by_score(score: Callable[[Floats], Floats], *, by_doubt: bool = False) -> Strategy:
    """The strategy that asks where a score of the probabilities is highest."""

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        return _highest(score(candidates.probabilities), number, random)

    return Strategy(choose, by_doubt=by_doubt)


def build_random() -> Strategy:
    """Any of them, with equal chances: what the others must beat."""
    return by_score(lambda probabilities: np.zeros(len(probabilities)))


def build_least_confidence() -> Strategy:
    """Those whose most probable answer is least probable."""
    return by_score(lambda probabilities: -probabilities.max(axis=1), by_doubt=True)


def build_margin() -> Strategy:
    """Those whose two most probable answers are closest ("breaking ties")."""
    return by_score(_margin, by_doubt=True)


def build_entropy() -> Strategy:
    """Those whose answer is most open, all answers considered."""
    return by_score(_entropy, by_doubt=True)


def build_high_score(*, answer: int = -1) -> Strategy:
    """Those that most probably have one answer: finds the examples of a rare label.

    Args:
        answer: the column of the answer; by default the last, "yes" of a yes-or-no question.
    """
    return by_score(lambda probabilities: probabilities[:, answer])


def build_typical(*, n_neighbours: int = 20) -> Strategy:
    """For a cold start: the most typical of each of as many clusters as are asked for.

    TypiClust of Hacohen, Dekel and Weinshall (2022), Active learning on a budget: typical is
    what is near to its nearest neighbours.
    """

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        vectors = _vectors(candidates, "spacy-torch.Typical.v1")
        clusters = _cluster(vectors, min(number, len(vectors)), random)
        chosen: list[int] = []
        for cluster in np.argsort(-np.bincount(clusters), kind="stable"):
            places = np.flatnonzero(clusters == cluster)
            if len(places):
                distances = _distances(vectors[places], vectors[places])
                nearest = np.sort(distances, axis=1)[:, 1 : n_neighbours + 1]
                spread = nearest.mean(axis=1) if nearest.shape[1] else np.zeros(len(places))
                chosen.append(int(places[spread.argmin()]))
        # Questions that are all alike make fewer clusters than were asked for.
        left = np.setdiff1d(np.arange(len(vectors)), chosen)
        return np.array([*chosen, *random.permutation(left)][:number], dtype=np.int64)

    return Strategy(choose, needs_vectors=True)


def build_diverse_margin(*, pool: int = 4) -> Strategy:
    """Of those with the smallest margins a choice that lies far apart.

    Args:
        pool: how many times as many are looked at as are asked for.
    """

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        vectors = _vectors(candidates, "spacy-torch.DiverseMargin.v1")
        close = _highest(_margin(candidates.probabilities), pool * number, random)
        return close[_far_apart(vectors[close], number)]

    return Strategy(choose, needs_vectors=True, by_doubt=True)


def build_labels_in_turn() -> Strategy:
    """Of each label as many questions, by turns the surest to be a yes and the least sure.

    For marks of several labels, such as boxes: with a model that knows one label well and
    another badly, strategies that look at probabilities only ask about one of the two.
    """

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        labels = np.asarray(candidates.labels or [""] * len(candidates))
        names = random.permutation(np.unique(labels)).tolist()
        queues: list[list[int]] = []
        for name in names:
            places = np.flatnonzero(labels == name)
            rows = candidates.probabilities[places]
            surest = _highest(rows[:, -1], len(places), random)
            open_ = _highest(_margin(rows), len(places), random)
            turns = np.stack([places[surest], places[open_]], axis=1).ravel()
            queues.append(list(dict.fromkeys(turns.tolist())))
        rounds = zip_longest(*queues)
        chosen = [place for turn in rounds for place in turn if place is not None]
        return np.array(chosen[:number], dtype=np.int64)

    return Strategy(choose)


def build_bald(*, n_draws: int = 8) -> Strategy:
    """Those about which versions of the model disagree, each sure of itself.

    Houlsby et al. (2011), Bayesian active learning by disagreement, over dropout as in Gal,
    Islam and Ghahramani (2017).
    """

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        if candidates.draws is None:
            raise ValueError(
                "spacy-torch.BALD.v1 compares several draws of the model, got none: use it with "
                "a model that has dropout"
            )
        on_average = _entropy(candidates.draws.mean(axis=0))
        each = np.stack([_entropy(draw) for draw in candidates.draws])
        return _highest(on_average - each.mean(axis=0), number, random)

    return Strategy(choose, n_draws=n_draws, by_doubt=True)


def build_badge() -> Strategy:
    """Those whose likely gradients are large and point in different directions.

    Ash et al. (2020), Deep batch active learning by diverse, uncertain gradient lower bounds:
    k-means++ seeding on the gradient of the last layer for the most probable answer.
    """

    def choose(
        candidates: Candidates, number: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        vectors = _vectors(candidates, "spacy-torch.BADGE.v1")
        probabilities = candidates.probabilities
        errors = probabilities - np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
        gradients = (errors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
        return _spread_out(gradients, min(number, len(vectors)), random)

    return Strategy(choose, needs_vectors=True, by_doubt=True)


def _highest(scores: Floats, number: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The places of the highest scores; among equal ones chance decides."""
    order = np.lexsort((random.random(len(scores)), -scores))
    return order[:number]


def _margin(probabilities: Floats) -> Floats:
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    top = np.sort(probabilities, axis=1)[:, -2:]
    return top[:, 0] - top[:, 1]


def _entropy(probabilities: Floats) -> Floats:
    logs = np.log(probabilities.clip(min=1e-12))
    return -(probabilities * logs).sum(axis=1)


def _vectors(candidates: Candidates, name: str) -> Floats:
    if candidates.vectors is None:
        raise ValueError(
            f"{name} needs vectors of the questions, and the model has none: use a strategy that "
            "looks at probabilities only, such as spacy-torch.Margin.v1"
        )
    return candidates.vectors


def _distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(squares.clip(min=0))


def _far_apart(vectors: Floats, number: int) -> NDArray[np.int64]:
    """The first one, and each time the one that is farthest from all before it."""
    chosen = [0] if len(vectors) else []
    nearest = _distances(vectors, vectors[:1])[:, 0] if chosen else np.zeros(0)
    while len(chosen) < min(number, len(vectors)):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(vectors, vectors[chosen[-1:]])[:, 0])
    return np.array(chosen, dtype=np.int64)


def _spread_out(vectors: Floats, number: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Seeds as k-means++ draws them: with chances that grow with the distance to those drawn."""
    chosen = [int((vectors**2).sum(axis=1).argmax())] if number else []
    nearest = _distances(vectors, vectors[chosen])[:, 0] ** 2 if chosen else np.zeros(0)
    while len(chosen) < number:
        nearest[chosen] = 0.0
        left = np.setdiff1d(np.arange(len(vectors)), chosen)
        chances = nearest[left] / nearest[left].sum() if nearest[left].sum() > 0 else None
        chosen.append(int(random.choice(left, p=chances)))
        nearest = np.minimum(nearest, _distances(vectors, vectors[chosen[-1:]])[:, 0] ** 2)
    return np.array(chosen, dtype=np.int64)


def _cluster(vectors: Floats, number: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The cluster of each vector, by Lloyd's algorithm from k-means++ seeds."""
    centres = vectors[_spread_out(vectors, number, random)]
    clusters = np.zeros(len(vectors), dtype=np.int64)
    for _ in range(20):
        nearest = _distances(vectors, centres).argmin(axis=1)
        if (nearest == clusters).all():
            break
        clusters = nearest
        for cluster in range(number):
            members = vectors[clusters == cluster]
            if len(members):
                centres[cluster] = members.mean(axis=0)
    return clusters
