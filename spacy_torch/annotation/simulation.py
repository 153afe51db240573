"""The learning curve that one would have had: a session with a simulated annotator, many times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.class_subject import make_truth, measure_classes
from spacy_torch.annotation.entrant import begin, measure_pipeline
from spacy_torch.annotation.gold import GoldData
from spacy_torch.annotation.oracle import Noise, Oracle
from spacy_torch.annotation.strategies import Strategy
from spacy_torch.annotation.subject import Measured, Subject
from spacy_torch.annotation.subjects import SUBJECTS
from spacy_torch.annotation.tasks import Task
from spacy_torch.annotation.tfidf import TfidfRegression
from spacy_torch.annotation.transfer import Pupil, Transfer, teach

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contestant:
    """A model and the order in which it asks.

    Attributes:
        config: of a pipeline with a classifier.
        component: its name; None for the first one.
        settings: of the loop; None for those of the protocol.
        follower: the name of a run of TF-IDF and logistic regression, fitted anew at each
            checkpoint on what this one was told; None for none.
        pupils: other models that are taught, at the end, what this one was told.
    """

    name: str
    config: Mapping[str, Any]
    strategy: Strategy
    component: str | None = None
    settings: Settings | None = None
    follower: str | None = None
    pupils: Sequence[Pupil] = ()


@dataclass(frozen=True)
class Protocol:
    """How a simulation goes about it.

    Attributes:
        answers: questions of a session, passed-over ones among them.
        seeds: sessions of each contestant; those with the same seed begin with the same
            inputs, and meet the same mistakes.
        kind: ask which label applies ("choice"), whether a given label or mark is right
            ("binary"), or for all marks at once ("manual").
        noise: of the annotator.
        seconds: an answer takes, as stated by whoever reads the report.
        settings: of the loop; its `batch` is also the distance between checkpoints.
    """

    answers: int = 200
    seeds: int = 5
    kind: str = "choice"
    noise: Noise = field(default_factory=Noise)
    seconds: float = 2.0
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.answers < self.settings.batch or self.seeds < 1:
            raise ValueError(
                f"a simulation needs at least one batch of {self.settings.batch} answers and one "
                f"seed, got {self.answers} answers and {self.seeds} seeds"
            )


@dataclass(frozen=True)
class Checkpoint:
    """After a batch of answers.

    Attributes:
        n_answers: so far.
        score: on the test; see `Simulation.metric`.
        calibration_error: on the test, from 0 (its confidence is its accuracy).
        n_found: inputs with the rarest label among those asked about.
        asking, learning: seconds that the batch took.
    """

    n_answers: int
    score: float
    calibration_error: float
    n_found: int
    asking: float = 0.0
    learning: float = 0.0


@dataclass(frozen=True)
class Run:
    """One session of one contestant, or of what follows it.

    Attributes:
        answered: all questions with their answers.
        preparing: seconds from the config to a model that can ask.
    """

    name: str
    seed: int
    checkpoints: Sequence[Checkpoint]
    answered: Sequence[Task] = ()
    preparing: float = 0.0

    @property
    def area(self) -> float:
        """Under the learning curve: the mean score of the checkpoints."""
        return float(np.mean([point.score for point in self.checkpoints]))


@dataclass(frozen=True)
class Simulation:
    """All runs, and what they were about.

    Attributes:
        transfers: how good other models became by the answers.
        ceiling: the score of the first contestant's model with the answers to the whole
            pool, one seed; None if it was not asked for.
    """

    data: GoldData
    protocol: Protocol
    runs: Sequence[Run]
    ceiling: float | None = None
    transfers: Sequence[Transfer] = ()

    @property
    def names(self) -> list[str]:
        """Of the contestants and followers, in order."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return SUBJECTS[self.data.subject]

    @property
    def metric(self) -> str:
        """What a score is."""
        return self.subject.metric(exclusive=self.data.exclusive)

    @property
    def chance(self) -> float:
        """What is reached by always saying the same."""
        true = [gold.true for gold in self.data.test]
        return self.subject.chance(true, labels=self.data.labels, exclusive=self.data.exclusive)

    def of(self, name: str) -> list[Run]:
        """The runs of one contestant, by seed."""
        return sorted((run for run in self.runs if run.name == name), key=lambda run: run.seed)


def simulate(
    data: GoldData,
    contestants: Sequence[Contestant],
    protocol: Protocol,
    *,
    ceiling: bool = False,
    on_run: Callable[[Run], None] | None = None,
) -> Simulation:
    """Have every contestant label the same pool, once per seed.

    Nothing that a model learns from, labelled or not, comes from the test.

    Args:
        ceiling: also teach the first contestant's model the whole pool at once.
        on_run: told of each run when it is done.

    Raises:
        ValueError: two contestants have the same name, or exclusive labels are asked of a
            component for any number, or the other way round.
    """
    names = [one for each in contestants for one in (each.name, each.follower) if one]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"contestants need different names, got {names}")
    runs: list[Run] = []
    transfers: list[Transfer] = []
    for seed in range(protocol.seeds):
        for contestant in contestants:
            session = _Session(data, contestant, protocol, seed)
            played = session.play()
            transfers += session.teach_others(played[0].answered)
            runs += played
            if on_run is not None:
                for run in played:
                    on_run(run)
    top = None
    if ceiling:
        everything = replace(protocol, noise=Noise())
        top = _Session(data, contestants[0], everything, 0).learn_all()
    return Simulation(data, protocol, runs, top, transfers)


class _Session:
    """One contestant with one seed."""

    def __init__(
        self, data: GoldData, contestant: Contestant, protocol: Protocol, seed: int
    ) -> None:
        self.data = data
        self.contestant = contestant
        self.protocol = protocol
        self.seed = seed
        self.subject = SUBJECTS[data.subject]
        start = perf_counter()
        questions = begin(
            contestant.config,
            data,
            protocol.kind,
            component=contestant.component,
            seed=seed,
            name=contestant.name,
        )
        self.learner = ActiveLearner(
            questions.nlp,
            questions,
            [gold.task for gold in data.pool],
            strategy=contestant.strategy,
            settings=replace(contestant.settings or protocol.settings, seed=seed),
        )
        self.preparing = perf_counter() - start
        self.oracle = Oracle(data.pool, noise=protocol.noise, seed=seed, subject=self.subject)
        self.test = [questions.make_doc(gold.task) for gold in data.test]

    def play(self) -> list[Run]:
        questions = self.learner.questions
        points: list[Checkpoint] = []
        followed: list[Checkpoint] = []
        answered: list[Task] = []
        while len(answered) < self.protocol.answers:
            start = perf_counter()
            left = self.protocol.answers - len(answered)
            batch = min(self.protocol.settings.batch, left)
            tasks = self.learner.ask(batch) if answered else self._first(batch)
            asked = perf_counter()
            if not tasks:
                logger.info("%s: the pool is used up after %d", self.contestant.name, len(answered))
                break
            answers = [self.oracle.answer(task) for task in tasks]
            before = perf_counter()
            self.learner.receive(answers)
            learned = perf_counter()
            answered += answers
            point = self._note(measure_pipeline(questions, self.test, self.data), answered)
            points.append(replace(point, asking=asked - start, learning=learned - before))
            if self.contestant.follower:
                followed.append(self._note(self._follow(), answered))
        runs = [Run(self.contestant.name, self.seed, points, answered, self.preparing)]
        if self.contestant.follower:
            runs.append(Run(self.contestant.follower, self.seed, followed))
        return runs

    def teach_others(self, answered: Sequence[Task]) -> list[Transfer]:
        return [
            teach(
                pupil,
                answered,
                self.data,
                self.protocol.kind,
                settings=self.protocol.settings,
                seed=self.seed,
                taught_by=self.contestant.name,
            )
            for pupil in self.contestant.pupils
        ]

    def learn_all(self) -> float:
        first = self.subject.make_first_questions(self.learner.questions, self.protocol.kind)
        tasks = [gold.task for gold in self.data.pool]
        asked = first.ask(tasks, first.make_docs(tasks), np.random.default_rng(self.seed))
        self.learner.receive(self.oracle.answer(question.task) for question in asked)
        return measure_pipeline(self.learner.questions, self.test, self.data).score

    def _first(self, number: int) -> list[Task]:
        """The same inputs for all contestants with a seed, whatever they would rather ask."""
        return self.subject.ask_first(
            self.learner.questions,
            [(gold.task, gold.true) for gold in self.data.pool],
            kind=self.protocol.kind,
            number=number,
            random=np.random.default_rng([self.seed, 0]),
        )

    def _follow(self) -> Measured:
        model = TfidfRegression(self.data.labels, exclusive=self.data.exclusive)
        scores = model.fit_predict(self.learner.examples, [doc.text for doc in self.test])
        truth = make_truth((gold.true for gold in self.data.test), self.data.labels)
        return measure_classes(scores, truth, exclusive=self.data.exclusive)

    def _note(self, measured: Measured, answered: Sequence[Task]) -> Checkpoint:
        asked = {task["_input_hash"] for task in answered}
        rarest = self.data.rarest
        n_found = sum(gold.key in asked for gold in self.data.pool if rarest in gold.labels)
        return Checkpoint(len(answered), *measured, n_found)


def find_kind(data: GoldData, kind: str = "") -> str:
    """The kind of questions, as named; or the usual one for the labels.

    Raises:
        ValueError: there is no such kind.
    """
    kinds = list(SUBJECTS[data.subject].kinds)
    if not kind:
        return "binary" if "binary" in kinds and not data.exclusive else kinds[0]
    if kind not in kinds:
        raise ValueError(f"the kind of questions must be {' or '.join(kinds)}, got {kind!r}")
    return kind
