"""Whether what one model asked to know teaches another one, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.entrant import begin, measure_pipeline
from spacy_torch.annotation.gold import GoldData
from spacy_torch.annotation.strategies import build_random
from spacy_torch.annotation.tasks import Task


@dataclass(frozen=True)
class Pupil:
    """A model that is taught, from nothing, what another one was told in a whole session.

    Attributes:
        config: of a pipeline with it.
        component: its name; None for the first one that can learn it.
        epochs: how often it goes through the answered examples; by default as often as an
            answer is rehearsed in a session of 200, on average.
    """

    name: str
    config: Mapping[str, Any]
    component: str | None = None
    epochs: int = 40


@dataclass(frozen=True)
class Transfer:
    """What a pupil was worth on the test, and by whose answers.

    Attributes:
        name: of the pupil.
        taught_by: the contestant that the questions were those of.
        seconds: that it learned.
    """

    name: str
    taught_by: str
    seed: int
    n_answers: int
    score: float
    calibration_error: float
    seconds: float


def teach(
    pupil: Pupil,
    answered: Sequence[Task],
    data: GoldData,
    kind: str,
    *,
    settings: Settings,
    seed: int,
    taught_by: str,
) -> Transfer:
    """Teach a pupil all answers of a session, and test it."""
    questions = begin(
        pupil.config, data, kind, component=pupil.component, seed=seed, name=pupil.name
    )
    learner = ActiveLearner(
        questions.nlp,
        questions,
        [gold.task for gold in data.pool],
        strategy=build_random(),
        settings=replace(settings, seed=seed, epochs=pupil.epochs),
    )
    start = perf_counter()
    learner.receive(answered)
    seconds = perf_counter() - start
    test = [questions.make_doc(gold.task) for gold in data.test]
    measured = measure_pipeline(questions, test, data)
    return Transfer(pupil.name, taught_by, seed, len(answered), *measured, seconds)
