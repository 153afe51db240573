"""Pipelines that train side by side, each for the same time, and keep their best state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import process_time
from typing import Any

import torch
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import registry
from thinc.api import Config, fix_random_seed

# Of a learning rate that ends with the time: the steps in which it rises, and its least part.
WARMUP_STEPS, LAST_RATE = 100, 0.005


@dataclass(frozen=True)
class Reached:
    """What the dev set said after some seconds of training."""

    seconds: float
    step: int
    score: float
    scores: Mapping[str, float]


@dataclass
class Learner:
    """A pipeline that is trained as its config says, a little at a time.

    The seconds are those of the process, as one thread works: what else the machine does
    takes nothing from either side. Looking at the dev set is not counted.

    Args:
        config: of a pipeline, its corpora, its optimizer and its batches.
        limit: how many seconds it will be given in all. A learning rate of ours that falls
            over a number of steps falls over this time instead, from the same highest rate.

    Attributes:
        seconds: how long it has been trained so far.
        words: how many it has learned from.
        evaluations: all that were made.
    """

    config: Config
    limit: float
    seed: int = 0
    seconds: float = 0.0
    steps: int = 0
    words: int = 0
    evaluations: list[Reached] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        fix_random_seed(self.seed)
        self.nlp = init_nlp(self.config)
        self.training: dict[str, Any] = self.nlp.config.interpolate()["training"]
        self.peak = _find_peak(self.training["optimizer"])
        self.optimizer = _resolve(self.training, "optimizer")
        self.best = b""
        self._batches = self._make_batches()

    def train(self, until: float) -> None:
        """Go on until it has been trained for so many seconds."""
        while self.seconds < until:
            start = process_time()
            batch = next(self._batches)
            if self.peak is not None:
                warm = min(1.0, (self.steps + 1) / WARMUP_STEPS)
                left = max(1 - self.seconds / self.limit, LAST_RATE)
                self.optimizer.learn_rate = self.peak * warm * left
            self.nlp.update(batch, drop=self.training["dropout"], sgd=False)
            for _, component in self.nlp.pipeline:
                component.finish_update(self.optimizer)
            if self.peak is None:
                self.optimizer.step_schedules()
            self.seconds += process_time() - start
            self.steps += 1
            self.words += sum(len(example.predicted) for example in batch)

    def evaluate(self) -> None:
        """Look at the dev set, and keep the weights if they were never better."""
        scores = self.nlp.evaluate(self.read("dev"))
        weights = self.training["score_weights"]
        score = sum(scores[name] * weight for name, weight in weights.items() if weight)
        if not self.evaluations or score > max(each.score for each in self.evaluations):
            self.best = self.nlp.to_bytes()
        self.evaluations.append(Reached(self.seconds, self.steps, score, scores))
        print(f"   {self.seconds:.0f} s, step {self.steps}: {100 * score:.2f}", flush=True)

    def read(self, part: str) -> list[Example]:
        """The examples of one of the config's corpora, new objects each time."""
        corpora = self.nlp.config.interpolate()["corpora"]
        return list(registry.resolve({"corpus": corpora[part]})["corpus"](self.nlp))

    def take_best(self) -> None:
        """Go back to the state with the best dev score."""
        self.nlp.from_bytes(self.best)

    def _make_batches(self) -> Iterator[list[Example]]:
        batcher = _resolve(self.training, "batcher")
        examples, shuffle = self.read("train"), random.Random(self.seed).shuffle
        while True:
            shuffle(examples)
            yield from batcher(examples)


def train_in_turns(
    learners: Sequence[Learner], *, limit: float, piece: float, evaluate_every: int
) -> None:
    """Train all of them for so many seconds, piece by piece, with looks at the dev set."""
    n_pieces = max(1, round(limit / piece))
    for done in range(1, n_pieces + 1):
        for learner in learners:
            learner.train(limit * done / n_pieces)
            if done % evaluate_every == 0 or done == n_pieces:
                learner.evaluate()


def _find_peak(optimizer: Mapping[str, Any]) -> float | None:
    rate = optimizer["learn_rate"]
    return rate["initial_rate"] if isinstance(rate, Mapping) else None


def _resolve(training: Mapping[str, Any], part: str) -> Any:
    return registry.resolve({part: training[part]})[part]
