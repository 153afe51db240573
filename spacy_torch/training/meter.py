"""What is measured of a training beside its scores: losses, rates, gradients, speed, memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from spacy.language import Language
from spacy.util import registry
from thinc.api import Model, Optimizer

from spacy_torch.bridge.model import find_shims
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.training.counted_update import CountedUpdate
from spacy_torch.training.memory import gpu_bytes, resident_bytes


@dataclass(frozen=True)
class Reading:
    """What was measured since the last evaluation.

    Attributes:
        losses: the mean loss of an example, by component.
        learn_rate: of the last step, without the factors of parameter groups.
        gradient_norm: the mean over the steps of the norm of all gradients of all torch
            modules, before clipping.
        gradient_norms: the same for each component with a torch module.
        words_per_second: of the steps alone: evaluations and what was saved do not count. Of
            several processes that train together, this one's times their number.
        skipped_steps: how many steps were refused so far, by component, if any.
        memory: resident, in bytes.
        gpu_memory: the most that torch took on CUDA devices, in bytes.
    """

    losses: Mapping[str, float]
    learn_rate: float | None
    gradient_norm: float | None
    gradient_norms: Mapping[str, float]
    words_per_second: float | None
    skipped_steps: Mapping[str, int]
    memory: int | None
    gpu_memory: int | None


class Meter:
    """Reads what the steps of a pipeline's training leave behind.

    The norms have been computed for the steps, and are only added up here. Thinc's layers
    compute none, so that a pipeline without torch modules has no gradient norm.

    Attributes:
        n_processes: how many train together.
    """

    def __init__(self, nlp: Language) -> None:
        models = {name: getattr(pipe, "model", None) for name, pipe in nlp.pipeline}
        shims = {
            name: find_shims(model) for name, model in models.items() if isinstance(model, Model)
        }
        self._shims = {name: found for name, found in shims.items() if found}
        self._rate = None if self._shims else ScheduledRate(nlp)
        self._seen = {id(shim): shim.steps for found in self._shims.values() for shim in found}
        self._update = CountedUpdate(nlp)
        self.n_processes = 1
        self._learn_rate: float | None = None
        # What comes before the first step, such as reading the corpus, counts for none.
        self._since: float | None = None
        self.start()

    @property
    def components(self) -> list[str]:
        """Those with torch modules, and so with gradient norms."""
        return [*self._shims]

    def start(self) -> None:
        """Begin anew, as after an evaluation."""
        self._first_example = self._update.n_examples
        self._words = self._words_before = 0
        self._seconds = 0.0
        self._sums: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def go_on(self) -> None:
        """A step begins; the time until now was not spent on one."""
        self._words_before = self._update.n_words
        self._since = perf_counter()

    def take_step(self, *, evaluated: bool) -> None:
        """A step has ended.

        Args:
            evaluated: whether an evaluation came after it, so that its time is not known.
        """
        if not evaluated and self._since is not None:
            self._seconds += perf_counter() - self._since
            self._words += self._update.n_words - self._words_before
        squares = 0.0
        for name, shims in self._shims.items():
            norm = self._norm(shims)
            if norm is not None:
                self._add(name, norm)
                squares += norm * norm
        if squares:
            self._add("", math.sqrt(squares))

    def read(self, *, step: int, n_examples: int | None = None) -> Reading:
        """What was measured since `start`, which the step of this number ended.

        Args:
            n_examples: how many all processes together have learned from since then, whose
                losses have been added up; default: this one's alone.
        """
        if n_examples is None:
            n_examples = self._update.n_examples - self._first_example
        norms = {name: self._sums[name] / count for name, count in self._counts.items()}
        skipped = {
            name: sum(shim.skipped_steps for shim in shims) for name, shims in self._shims.items()
        }
        return Reading(
            losses={
                name: float(loss - self._update.before.get(name, 0.0)) / n_examples
                for name, loss in self._update.losses.items()
                if n_examples
            },
            learn_rate=self._rate.at(step) if self._rate is not None else self._learn_rate,
            gradient_norm=norms.pop("", None),
            gradient_norms=norms,
            words_per_second=(
                self.n_processes * self._words / self._seconds if self._words else None
            ),
            skipped_steps={name: count for name, count in skipped.items() if count},
            memory=resident_bytes(),
            gpu_memory=gpu_bytes(),
        )

    def close(self) -> None:
        """Leave the pipeline as it was found."""
        self._update.remove()

    def _norm(self, shims: list[TorchShim]) -> float | None:
        """The norm of the gradients of modules that have made a step since the last call."""
        squares, has_moved = 0.0, False
        for shim in shims:
            norm = shim.gradient_norm if shim.steps > self._seen[id(shim)] else None
            self._seen[id(shim)] = shim.steps
            if norm is not None:
                squares, has_moved = squares + norm * norm, True
                self._learn_rate = shim.learn_rate
        return math.sqrt(squares) if has_moved else None

    def _add(self, name: str, norm: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + norm
        self._counts[name] += 1


class ScheduledRate:
    """The learning rate where no torch module tells it: of another optimizer of this config."""

    def __init__(self, nlp: Language) -> None:
        block = nlp.config.interpolate()["training"]["optimizer"]
        self._optimizer: Optimizer = registry.resolve({"optimizer": block})["optimizer"]
        self._step = 0

    def at(self, step: int) -> float:
        """The rate of the step of this number, from 0; no smaller one may follow."""
        while self._step < step:
            self._optimizer.step_schedules()
            self._step += 1
        return float(self._optimizer.learn_rate)
