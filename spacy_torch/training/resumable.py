"""A training run of spaCy's that is written down as it goes, and can be gone on with.

Nothing of spaCy's loop is copied or changed. A resumed run goes through the loop from the start,
but up to the step of the checkpoint it gets empty batches, which train nothing, and the scores
that were measured before: schedules, shuffles, patience and the best score come to where they
were. There the weights and everything else that the steps have changed are put in place.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Any

from spacy.language import Language
from spacy.training import Example
from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST
from spacy.util import logger
from thinc.api import Model, Optimizer, Shim

from spacy_torch.bridge.model_state import load_models, save_models
from spacy_torch.bridge.optimizer_state import load_optimizer, save_optimizer
from spacy_torch.bridge.schedule_position import count_schedules
from spacy_torch.distributed.world import NotTogetherError, World
from spacy_torch.training.checkpoint import (
    BEST,
    Checkpoint,
    CheckpointError,
    write_checkpoint,
)
from spacy_torch.training.config_match import (
    check_config,
    current_versions,
    plain_config,
)
from spacy_torch.training.interrupted_best import SAVING
from spacy_torch.training.interval import Interval
from spacy_torch.training.linked_copy import copy_linked
from spacy_torch.training.losses import LossWindow, add_up, add_up_saved
from spacy_torch.training.pipeline_state import (
    load_pipeline,
    plain,
    save_pipeline,
    trained_models,
)
from spacy_torch.training.random_state import (
    RandomState,
    RandomStreams,
    position_of_data,
    reseed_cupy,
)
from spacy_torch.training.shards import share_out
from spacy_torch.training.trail import Trail

BeforeUpdate = Callable[[Language, dict[str, Any]], None]
Batch = list[Example]
Batcher = Callable[[Iterable[Example]], Iterable[Batch]]
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
        is_sharded: whether processes read different examples, to be set before these are read.
            They are not compared then, and a batch is one of this process.
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
        self.output = output
        self.interval = interval
        self.loaded = loaded
        self.given = None if given is None else plain_config(given)
        self.world = world or World()
        self.even_out = even_out
        self.when_begun = when_begun
        self.is_replaying = loaded is not None
        self.is_sharded = False
        self.step = 0
        self.epoch = 0
        self.evaluations: list[dict[str, Any]] = []
        self._replayed = iter(loaded.facts["evaluations"]) if loaded else iter(())
        self._losses = LossWindow()
        self._losses_of_all: dict[str, Any] | None = None
        self._n_examples = self._n_examples_of_all = 0
        self._is_saving = False
        self._optimizer: Optimizer | None = None
        self._nlp: Language | None = None
        self._config: dict[str, Any] = {}
        self._start: dict[str, Any] | None = None
        self._trail = Trail()
        self._words_replayed = 0
        self._n_strings = 0
        self._is_watching = False
        self._streams: RandomStreams | None = None

    # What is put around the parts of [training] ----------------------------------------

    def wrap_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Note the optimizer; the last one is that of the loop."""
        count_schedules(optimizer)
        self._optimizer = optimizer
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
                self._note_saving(False)
                if not self.is_replaying:
                    log_step(info and self._of_all_processes(info))

            return log_real_step, finish

        return set_up_and_start

    def _of_all_processes(self, info: dict[str, Any]) -> dict[str, Any]:
        """What a logger is told, with the losses and words of all processes.

        With more than one it is told their number, `n_processes`, and `n_examples`, how many
        all of them have learned from since the last evaluation.
        """
        if self.world.size == 1:
            return info
        replayed = self._words_replayed
        words = sum(self.world.gather(info["words"] + replayed))
        if not self.is_sharded:  # all have read, and counted, those that were replayed
            words -= replayed * (self.world.size - 1)
        return {
            **info,
            "losses": self._losses_of_all or info["losses"],
            "words": words,
            "n_processes": self.world.size,
            "n_examples": self._n_examples_of_all,
        }

    def wrap_batcher(self, batcher: Batcher) -> Batcher:
        """The batches that this process trains on, empty ones while steps are replayed."""

        def batches(examples: Iterable[Example]) -> Iterator[Batch]:
            self._compare_order(examples)
            yield from map(self._share, self.even_out(batcher(examples)))

        return batches

    def wrap_before_update(self, callback: BeforeUpdate | None) -> BeforeUpdate:
        """Writes the checkpoints, and puts the one that is gone on from in place."""

        def before_update(nlp: Language, at: dict[str, Any]) -> None:
            if self._nlp is None:
                self._begin(nlp)
            self.step, self.epoch = at["step"], at["epoch"]
            self._trail.end_batch()
            if callback is not None:
                callback(nlp, at)
            if not self.is_replaying:
                if self.interval.is_due(self.step):
                    self.write(nlp)
            elif self.loaded is not None and self.step == self.loaded.step:
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
        self._config = plain_config(config)
        self._trail.remembers = config["training"]["max_epochs"] >= 0
        self._is_watching = True
        for first in itertools.islice(self._trained(nlp).values(), 1):
            first.shims.append(OptimizerNote(first, self.wrap_optimizer))

    # The beginning and the end -----------------------------------------------------------

    def _start_reading(self, nlp: Language) -> None:
        config = nlp.config.interpolate()
        self._config = plain_config(config)
        self._trail.remembers = config["training"]["max_epochs"] >= 0
        if self.loaded is not None:
            check_config(self.loaded.facts["config"], self._config)
            expected = self._of_this_process(self.loaded.facts["trails"])
            self._trail = Trail(
                expected={int(n): crc for n, crc in expected.items()},
                remembers=self._trail.remembers,
            )
            logger.info("Replaying %d steps", self.loaded.step)
        start = self.loaded.facts["start"] if self.loaded else RandomState.now().to_json()
        self._start = self.world.broadcast(start)
        if self._start is not None:
            RandomState.from_json(self._start).restore()

    def _of_this_process(self, saved: Sequence[Any]) -> Any:
        """What a checkpoint has of the data of every process: the same, unless they share it."""
        if not self.is_sharded:
            return saved[0]
        if len(saved) != self.world.size:
            raise CheckpointError(
                f"the checkpoint is of {len(saved)} processes that read different parts of a "
                f"corpus, these are {self.world.size}: go on with {len(saved)}"
            )
        return saved[self.world.rank]

    def _begin(self, nlp: Language) -> None:
        """Before the first step: change what the pipeline does."""
        self._nlp = nlp
        is_streamed = self._config["training"]["max_epochs"] < 0
        self._streams = RandomStreams(with_numpy=is_streamed)
        if self.world.rank:
            self._streams.differ(self.world.rank)
        self._n_strings = len(nlp.vocab.strings)
        for change in self.when_begun:
            change(nlp, self)
        update, evaluate = nlp.update, nlp.evaluate
        streams = self._streams

        def update_noted(examples: Iterable[Example], *args: Any, **kwargs: Any) -> Any:
            examples = examples if isinstance(examples, list) else list(examples)
            self._n_examples += len(examples)
            self._losses.use(kwargs.get("losses"))
            if self._is_watching:
                self._trail.add_part(examples)
            with streams.for_models():
                return update(examples, *args, **kwargs)

        def evaluate_noted(examples: Iterable[Example], *args: Any, **kwargs: Any) -> Any:
            if self.is_replaying:
                scores = self._next_scores()
            else:
                with streams.for_models():
                    scores = evaluate(examples, *args, **kwargs)
                self._note_saving(True)
            self.evaluations.append({"step": self.step, "scores": scores})
            if self.world.size > 1 and not self.is_replaying:
                self._losses_of_all = add_up(self.world.gather(self._losses.sums))
                self._losses.sums.update(self._losses_of_all)
                self._n_examples_of_all = sum(self.world.gather(self._n_examples))
            self._losses.close()
            self._n_examples = 0
            return scores

        # Of this object only, and taken back by `end`.
        nlp.update = update_noted  # type: ignore[method-assign]
        nlp.evaluate = evaluate_noted  # type: ignore[method-assign]

    def _note_saving(self, is_saving: bool) -> None:
        """Note on the disk, from each evaluation until what spaCy may save after it is saved."""
        if self.output is None or is_saving == self._is_saving:
            return
        self._is_saving = is_saving
        if is_saving:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / SAVING).touch()
        else:
            (self.output / SAVING).unlink(missing_ok=True)

    def end(self) -> None:
        """Leave the pipeline as spaCy would.

        Raises:
            CheckpointError: the training ended before it came to the checkpoint.
        """
        self.give_up()
        if self.is_replaying and self.loaded is not None:
            raise CheckpointError(
                f"the training ended at step {self.step}, before the step {self.loaded.step} of "
                "the checkpoint: raise [training] max_steps, max_epochs or patience"
            )

    def give_up(self) -> None:
        """As `end`, after an error: what the replay has not put back yet is put back."""
        if self._nlp is not None:
            for name in ("update", "evaluate"):
                vars(self._nlp).pop(name, None)
        if self.is_replaying and self.loaded is not None:
            self._put_best_back(self.loaded)

    # Each step -------------------------------------------------------------------------

    def _share(self, batch: Iterable[Example]) -> Batch:
        batch = list(batch)
        n_before = self._trail.n_batches
        self._trail.add(batch)
        if self.loaded is not None and n_before < self.loaded.step:
            self._words_replayed += sum(map(len, batch))
            return []
        return batch if self.is_sharded else self._slice(batch)

    def _slice(self, batch: Batch) -> Batch:
        if self.world.size == 1:
            return batch
        return share_out(batch, self.world.size)[self.world.rank]

    def _compare_order(self, examples: Iterable[Example]) -> None:
        if self.world.size == 1 or self.is_sharded or not isinstance(examples, list):
            return
        found = self.world.gather((len(examples), self._trail.order(examples)))
        if len(set(found)) > 1:
            raise NotTogetherError(
                "the processes have different training examples, or in another order: they have "
                f"(examples, checksum) {found}. Give all of them the same corpus and code; what "
                "draws random numbers while it reads must be seeded alike"
            )

    def _next_scores(self) -> dict[str, Any]:
        saved = next(self._replayed, None)
        if saved is None or saved["step"] != self.step:
            raise CheckpointError(
                f"the checkpoint has no scores of step {self.step}: use the eval_frequency that "
                "the run was started with"
            )
        return saved["scores"]

    # Writing and reading -----------------------------------------------------------------

    def write(self, nlp: Language) -> None:
        """Write a checkpoint of the moment before this step's update."""
        begin = monotonic()
        assert self._streams is not None
        random = self.world.gather(self._streams.save())
        trails = self.world.gather(self._trail.marks())
        positions = self.world.gather(position_of_data())
        losses = self.world.gather(self._losses.save())
        reseed_cupy(self.step)
        if self.output is not None:
            models, optimizer = self._trained(nlp), self._used_optimizer()
            facts = {
                "step": self.step,
                "epoch": self.epoch,
                "world_size": self.world.size,
                "versions": current_versions(),
                "config": self._config,
                "given": self.given,
                "start": self._start,
                "random": random,
                "positions": positions,
                "trails": trails,
                "evaluations": [plain(evaluation) for evaluation in self.evaluations],
                "losses": add_up_saved(losses),
                **save_pipeline(nlp, [*models], n_strings=self._n_strings),
            }
            try:
                write_checkpoint(
                    self.output,
                    facts,
                    write_models=lambda file: save_models(models, file),
                    write_optimizer=lambda file: save_optimizer(optimizer, models, file),
                )
            except OSError as error:
                # A full disk may have room again, and days of training are worth more.
                logger.warning(
                    "The checkpoint of step %d could not be written (%s). The training goes on, "
                    "the last checkpoint is as it was",
                    self.step,
                    error,
                )
        cost = monotonic() - begin
        logger.debug("Checkpoint of step %d written in %.2f s", self.step, cost)
        self.interval.start(self.step, cost=cost)

    def _restore(self, nlp: Language, loaded: Checkpoint) -> None:
        facts = loaded.facts
        assert self._streams is not None
        if self._of_this_process(facts["positions"]) != position_of_data():
            raise CheckpointError(
                "what reads the training data has drawn other random numbers than before the "
                f"checkpoint of step {self.step}: let readers, augmenters and batchers draw from "
                "Python's own generator only, or start anew without --resume"
            )
        models, optimizer = self._trained(nlp), self._used_optimizer()
        load_pipeline(nlp, [*models], facts)

        def load(models_file: Path, optimizer_file: Path) -> None:
            load_models(models, models_file)
            load_optimizer(optimizer, models, optimizer_file)

        loaded.use_files(load)
        if self.world.rank == 0:  # those of all processes
            self._losses.load(facts["losses"])
        reseed_cupy(self.step)
        if self.world.rank < len(facts["random"]):
            self._streams.load(facts["random"][self.world.rank])
        else:
            self._streams.differ(self.step)
        self._put_best_back(loaded)
        self.is_replaying = False
        self.interval.start(self.step, cost=0.0)
        logger.info("Going on with step %d", self.step)

    def _put_best_back(self, loaded: Checkpoint) -> None:
        if self.output is None or loaded.path is None:
            return
        for name in (DIR_MODEL_BEST, DIR_MODEL_LAST):  # what the replay has left is empty
            shutil.rmtree(self.output / name, ignore_errors=True)
        if (loaded.path / BEST).is_dir():
            copy_linked(loaded.path / BEST, self.output / DIR_MODEL_BEST)

    def _trained(self, nlp: Language) -> dict[str, Model[Any, Any]]:
        return trained_models(nlp, frozen=self._config["training"]["frozen_components"])

    def _used_optimizer(self) -> Optimizer:
        if self._optimizer is None:
            raise ValueError(
                "no component is trained, so there is nothing to write down: take one out of "
                "[training] frozen_components"
            )
        return self._optimizer


def _log_nothing(info: dict[str, Any] | None) -> None:
    """Log nothing, in a process that is not the first."""


def _end_nothing() -> None:
    """End what was never begun."""


class Unsaved(Language):
    """What spaCy saves in place of a pipeline that is not to be saved: an empty directory."""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Make the directory."""
        Path(path).mkdir(parents=True, exist_ok=True)


class OptimizerNote(Shim):
    """Hears of the optimizer in the first step, as all shims of a model do, and is gone then."""

    def __init__(self, model: Model[Any, Any], note: Callable[[Optimizer], Any]) -> None:
        super().__init__(None)
        self._told = (model, note)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Note it."""
        model, note = self._told
        model.shims.remove(self)
        note(optimizer)
