"""Which of many questions to ask: those that a strategy wants, and some by chance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from spacy_torch.annotation.questions import Question, Questions
from spacy_torch.annotation.strategies import Candidates, Floats, Strategy
from spacy_torch.annotation.tasks import Task

# A question that chance chose, and not the strategy: such ones tell how good the model is.
RANDOM = "_random"
# What the model would have answered itself.
EXPECTED = "_expected"


def choose(
    found: Sequence[Question],
    number: int,
    *,
    questions: Questions,
    strategy: Strategy,
    epsilon: float,
    random: np.random.Generator,
) -> list[Task]:
    """So many of the questions, or all if there are fewer.

    Args:
        epsilon: the share of those that chance chooses; they say so.
    """
    if not found:
        return []
    candidates = describe(found, questions=questions, strategy=strategy)
    wanted: list[int] = strategy.choose(candidates, min(number, len(found)), random).tolist()
    by_chance = iter(random.permutation(len(found)).tolist())
    chosen: dict[int, Task] = {}
    for place in wanted:
        is_random = bool(random.random() < epsilon)
        if is_random or place in chosen:
            place = next(other for other in by_chance if other not in chosen)
        question = found[place]
        chosen[place] = {**question.task, RANDOM: is_random, EXPECTED: question.expected}
    return list(chosen.values())


def has_to_guess(strategy: Strategy, questions: Questions) -> bool:
    """Whether a strategy goes by the doubts of a model that knows nothing yet; see `Strategy`."""
    guesses = getattr(questions.component, "is_guessing", None)
    return strategy.by_doubt and guesses is not None and bool(guesses())


def describe(found: Sequence[Question], *, questions: Questions, strategy: Strategy) -> Candidates:
    """What a strategy chooses by, as far as it needs it and the component has it."""
    width = max(len(question.probabilities) for question in found)
    probabilities = np.stack(
        [np.pad(one.probabilities, (0, width - len(one.probabilities))) for one in found]
    ).astype(np.float64)
    vectors = None
    if strategy.needs_vectors:
        read = getattr(questions.component, "vectors", None)
        docs = questions.make_docs([question.task for question in found])
        with suppress(TypeError):  # a model that has none
            vectors = np.asarray(read(docs), dtype=np.float64) if read else None
        if vectors is None and questions.nlp.vocab.vectors_length:
            vectors = np.array([doc.vector for doc in docs], dtype=np.float64)
    draws = draw_answers(found, strategy.n_draws, questions=questions)
    labels = [question.task["label"] for question in found if "label" in question.task]
    return Candidates(probabilities, vectors, draws, labels if len(labels) == len(found) else None)


def draw_answers(found: Sequence[Question], n_draws: int, *, questions: Questions) -> Floats | None:
    """The probabilities by several versions of the model, shape (draw, question, answer).

    None if none are wanted, or the component has no versions.
    """
    draw = getattr(questions.component, "draw_probabilities", None)
    if not n_draws or draw is None:
        return None
    docs = questions.make_docs([question.task for question in found])
    draws = np.asarray(draw(docs, n_draws=n_draws), dtype=np.float64)
    if questions.is_exclusive or "label" not in found[0].task:
        return draws
    # Each question is about one label only: no or yes.
    labels = list(questions.component.labels)
    columns = [labels.index(question.task["label"]) for question in found]
    yes = draws[:, np.arange(len(found)), columns]
    return np.stack([1 - yes, yes], axis=2)
