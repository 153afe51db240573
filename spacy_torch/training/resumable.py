"""A training run of spaCy's that is written down as it goes, and can be gone on with.

Nothing of spaCy's loop is copied or changed. A resumed run goes through the loop from the start,
but up to the step of the checkpoint it gets empty batches, which train nothing, and the scores
that were measured before: schedules, shuffles, patience and the best score come to where they
were. There the weights and everything else that the steps have changed are put in place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Any

from spacy.language import Language
from spacy.training import Example
from spacy.util import logger
from thinc.api import Optimizer

from spacy_torch.bridge.schedule_position import count_schedules
from spacy_torch.distributed.world import World
from spacy_torch.training.checkpoint import Checkpoint, CheckpointError
from spacy_torch.training.config_match import check_config, plain_config
from spacy_torch.training.interrupted_best import SavingNote, put_best_back
from spacy_torch.training.interval import Interval
from spacy_torch.training.optimizer_note import OptimizerNote
from spacy_torch.training.own_batches import Batch, Batcher, OwnBatches
from spacy_torch.training.random_state import RandomState, RandomStreams
from spacy_torch.training.run_state import RunState
from spacy_torch.training.trail import Trail
from spacy_torch.training.unsaved import Unsaved

BeforeUpdate = Callable[[Language, dict[str, Any]], None]
LogStep = Callable[[dict[str, Any] | None], None]
Logger = Callable[[Language, IO[str], IO[str]], tuple[LogStep, Callable[[], None]]]


class Resumable:
    """Hooks for spaCy's training loop that write checkpoints, and go on from one.

    Args:
        output: the directory of the run; None for a process that writes nothing.
        interval: when to write.
        loaded: the checkpoint to go on from.
        given: the config that the user gave, interpolated.
        world: all processes of the run.
        even_out: given this process's batches of an epoch, gives as many in every process.
        when_begun: called with the pipeline and this object before the first step, to change
            what `nlp.evaluate` and `finish_update` of the components do. They must do nothing
            of their own while `is_replaying`.

    Attributes:
        is_replaying: whether the steps are those that were made before the checkpoint.
        state: what a checkpoint will have of this run.
    """

    def __init__(
        self,
        *,
        output: Path | None,
        interval: Interval,
        loaded: Checkpoint | None = None,
        given: Mapping[str, Any] | None = None,
        world: World | None = None,
        even_out: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
        when_begun: Sequence[Callable[[Language, Resumable], None]] = (),
    ) -> None:
        self.world = world or World()
        self.state = RunState(self.world, given=given)
        self.output = output
        self.interval = interval
        self.loaded = loaded
        self.even_out = even_out
        self.when_begun = when_begun
        self.is_replaying = loaded is not None
        self._replayed = iter(loaded.facts["evaluations"]) if loaded else iter(())
        self._saving = SavingNote(output)
        self._nlp: Language | None = None
        self._is_watching = False

    # What is put around the parts of [training] ----------------------------------------

    def wrap_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Note the optimizer; the last one is that of the loop."""
        count_schedules(optimizer)
        self.state.optimizer = optimizer
        return optimizer

    def wrap_logger(self, set_up: Logger, *, when_set_up: Callable[[Language], None]) -> Logger:
        """The logger, silent while steps are replayed and in all processes but the first.

        Its setting up is where spaCy has resolved [training] and has not read the corpus yet.
        """

        def set_up_and_start(
            nlp: Language, stdout: IO[str], stderr: IO[str]
        ) -> tuple[LogStep, Callable[[], None]]:
            when_set_up(nlp)
            self._start_reading(nlp)
            log_step, finish = (_log_nothing, _end_nothing)
            if self.world.rank == 0:
                log_step, finish = set_up(nlp, stdout, stderr)

            def log_real_step(info: dict[str, Any] | None) -> None:
                self._saving.set(False)
                if self.is_replaying:
                    return
                if info:
                    is_sharded = self.state.is_sharded
                    info = self.state.totals.of_all_processes(info, is_sharded=is_sharded)
                log_step(info)

            return log_real_step, finish

        return set_up_and_start

    def wrap_batcher(self, batcher: Batcher) -> Batcher:
        """The batches that this process trains on, empty ones while steps are replayed."""
        return OwnBatches(
            batcher,
            self.state,
            n_replayed=self.loaded.step if self.loaded else 0,
            even_out=self.even_out,
        )

    def wrap_before_update(self, callback: BeforeUpdate | None) -> BeforeUpdate:
        """Writes the checkpoints, and puts the one that is gone on from in place."""

        def before_update(nlp: Language, at: dict[str, Any]) -> None:
            if self._nlp is None:
                self._begin(nlp)
            self.state.step, self.state.epoch = at["step"], at["epoch"]
            self.state.trail.end_batch()
            if callback is not None:
                callback(nlp, at)
            if not self.is_replaying:
                if self.interval.is_due(self.state.step):
                    self.write(nlp)
            elif self.loaded is not None and self.state.step == self.loaded.step:
                self._restore(nlp, self.loaded)

        return before_update

    def wrap_before_to_disk(
        self, callback: Callable[[Language], Language] | None
    ) -> Callable[[Language], Language]:
        """What is saved: nothing while steps are replayed."""

        def before_to_disk(nlp: Language) -> Language:
            if self.is_replaying:
                return Unsaved(nlp.vocab)
            return nlp if callback is None else callback(nlp)

        return before_to_disk

    def watch(self, nlp: Language) -> None:
        """Begin in the middle of spaCy's loop, before its first step, with no other hook.

        What the other hooks would know is seen from the updates.

        Raises:
            ValueError: the training has no seed, so that it cannot be repeated.
        """
        config = nlp.config.interpolate()
        if config["training"]["seed"] is None:
            raise ValueError(
                "[training] seed is null, so that another run would see the data in another order "
                "and could not go on from a checkpoint: give a number"
            )
        self.state.config = plain_config(config)
        self.state.trail.remembers = config["training"]["max_epochs"] >= 0
        self._is_watching = True
        for first in itertools.islice(self.state.trained(nlp).values(), 1):
            first.shims.append(OptimizerNote(first, self.wrap_optimizer))

    # The beginning and the end -----------------------------------------------------------

    def _start_reading(self, nlp: Language) -> None:
        config = nlp.config.interpolate()
        self.state.config = plain_config(config)
        self.state.trail.remembers = config["training"]["max_epochs"] >= 0
        if self.loaded is not None:
            check_config(self.loaded.facts["config"], self.state.config)
            expected = self.state.of_this_process(self.loaded.facts["trails"])
            self.state.trail = Trail(
                expected={int(n): crc for n, crc in expected.items()},
                remembers=self.state.trail.remembers,
            )
            logger.info("Replaying %d steps", self.loaded.step)
        start = self.loaded.facts["start"] if self.loaded else RandomState.now().to_json()
        self.state.start = self.world.broadcast(start)
        if self.state.start is not None:
            RandomState.from_json(self.state.start).restore()

    def _begin(self, nlp: Language) -> None:
        """Before the first step: change what the pipeline does."""
        self._nlp = nlp
        is_streamed = self.state.config["training"]["max_epochs"] < 0
        self.state.streams = RandomStreams(with_numpy=is_streamed)
        if self.world.rank:
            self.state.streams.differ(self.world.rank)
        self.state.n_strings = len(nlp.vocab.strings)
        for change in self.when_begun:
            change(nlp, self)
        update, evaluate = nlp.update, nlp.evaluate
        streams = self.state.streams

        def update_noted(examples: Iterable[Example], *args: Any, **kwargs: Any) -> Any:
            examples = examples if isinstance(examples, list) else list(examples)
            self.state.totals.n_examples += len(examples)
            self.state.totals.losses.use(kwargs.get("losses"))
            if self._is_watching:
                self.state.trail.add_part(examples)
            with streams.for_models():
                return update(examples, *args, **kwargs)

        def evaluate_noted(examples: Iterable[Example], *args: Any, **kwargs: Any) -> Any:
            if self.is_replaying:
                scores = self._next_scores()
            else:
                with streams.for_models():
                    scores = evaluate(examples, *args, **kwargs)
                self._saving.set(True)
            self.state.evaluations.append({"step": self.state.step, "scores": scores})
            self.state.totals.close(is_replaying=self.is_replaying)
            return scores

        # Of this object only, and taken back by `end`.
        nlp.update = update_noted  # type: ignore[method-assign]
        nlp.evaluate = evaluate_noted  # type: ignore[method-assign]

    def end(self) -> None:
        """Leave the pipeline as spaCy would.

        Raises:
            CheckpointError: the training ended before it came to the checkpoint.
        """
        self.give_up()
        if self.is_replaying and self.loaded is not None:
            raise CheckpointError(
                f"the training ended at step {self.state.step}, before the step {self.loaded.step} "
                "of the checkpoint: raise [training] max_steps, max_epochs or patience"
            )

    def give_up(self) -> None:
        """As `end`, after an error: what the replay has not put back yet is put back."""
        if self._nlp is not None:
            for name in ("update", "evaluate"):
                vars(self._nlp).pop(name, None)
        if self.is_replaying and self.loaded is not None:
            self._put_best_back(self.loaded)

    def _next_scores(self) -> dict[str, Any]:
        saved = next(self._replayed, None)
        if saved is None or saved["step"] != self.state.step:
            raise CheckpointError(
                f"the checkpoint has no scores of step {self.state.step}: use the eval_frequency "
                "that the run was started with"
            )
        return saved["scores"]

    # Writing and reading -----------------------------------------------------------------

    def write(self, nlp: Language) -> None:
        """Write a checkpoint of the moment before this step's update."""
        begin = monotonic()
        self.state.write(nlp, self.output)
        cost = monotonic() - begin
        logger.debug("Checkpoint of step %d written in %.2f s", self.state.step, cost)
        self.interval.start(self.state.step, cost=cost)

    def _restore(self, nlp: Language, loaded: Checkpoint) -> None:
        self.state.restore(nlp, loaded)
        self._put_best_back(loaded)
        self.is_replaying = False
        self.interval.start(self.state.step, cost=0.0)
        logger.info("Going on with step %d", self.state.step)

    def _put_best_back(self, loaded: Checkpoint) -> None:
        if self.output is not None:
            put_best_back(self.output, loaded)


def _log_nothing(info: dict[str, Any] | None) -> None:
    """Log nothing, in a process that is not the first."""


def _end_nothing() -> None:
    """End what was never begun."""
