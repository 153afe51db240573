"""What a training has come to: all that a checkpoint writes and puts back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import logger
from thinc.api import Model, Optimizer

from spacy_torch.bridge.model_state import load_models, save_models
from spacy_torch.bridge.optimizer_state import load_optimizer, save_optimizer
from spacy_torch.distributed.world import World
from spacy_torch.training.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from spacy_torch.training.config_match import current_versions, plain_config
from spacy_torch.training.losses import add_up_saved
from spacy_torch.training.pipeline_state import (
    load_pipeline,
    plain,
    save_pipeline,
    trained_models,
)
from spacy_torch.training.random_state import RandomStreams, position_of_data, reseed_cupy
from spacy_torch.training.totals import Totals
from spacy_torch.training.trail import Trail


class RunState:
    """Where a training is, as the hooks of `Resumable` note it while it goes on.

    Args:
        world: all processes of the run.
        given: the config that the user gave, interpolated.

    Attributes:
        step: the one that is made now.
        epoch: the one that it is of.
        is_sharded: whether processes read different examples, to be set before these are read.
            They are not compared then, and a batch is one of this process.
        config: that of the pipeline, once it is known.
        optimizer: that of the loop; None before it is made.
        start: the random state in which the corpus began to be read.
        streams: the random numbers from the first step on; None before.
        n_strings: how many strings the vocabulary had before the first step.
        trail: of the batches.
        totals: of what was learned since the last evaluation.
        evaluations: the step and the scores of each.
    """

    def __init__(self, world: World, *, given: Mapping[str, Any] | None = None) -> None:
        self.world = world
        self.given = None if given is None else plain_config(given)
        self.step = 0
        self.epoch = 0
        self.is_sharded = False
        self.config: dict[str, Any] = {}
        self.optimizer: Optimizer | None = None
        self.start: dict[str, Any] | None = None
        self.streams: RandomStreams | None = None
        self.n_strings = 0
        self.trail = Trail()
        self.totals = Totals(world)
        self.evaluations: list[dict[str, Any]] = []

    def trained(self, nlp: Language) -> dict[str, Model[Any, Any]]:
        """The models of the components that are not frozen, by component."""
        return trained_models(nlp, frozen=self.config["training"]["frozen_components"])

    def of_this_process(self, saved: Sequence[Any]) -> Any:
        """What a checkpoint has of the data of every process: the same, unless they share it.

        Raises:
            CheckpointError: they share it, and were another number.
        """
        if not self.is_sharded:
            return saved[0]
        if len(saved) != self.world.size:
            raise CheckpointError(
                f"the checkpoint is of {len(saved)} processes that read different parts of a "
                f"corpus, these are {self.world.size}: go on with {len(saved)}"
            )
        return saved[self.world.rank]

    def write(self, nlp: Language, output: Path | None) -> None:
        """Write a checkpoint of the moment before this step's update.

        All processes must call it.

        Args:
            output: the directory of the run; None for a process that writes nothing.

        Raises:
            ValueError: no component is trained.
        """
        assert self.streams is not None
        random = self.world.gather(self.streams.save())
        trails = self.world.gather(self.trail.marks())
        positions = self.world.gather(position_of_data())
        losses = self.world.gather(self.totals.losses.save())
        reseed_cupy(self.step)
        if output is not None:
            models, optimizer = self.trained(nlp), self._used_optimizer()
            facts = {
                "step": self.step,
                "epoch": self.epoch,
                "world_size": self.world.size,
                "versions": current_versions(),
                "config": self.config,
                "given": self.given,
                "start": self.start,
                "random": random,
                "positions": positions,
                "trails": trails,
                "evaluations": [plain(evaluation) for evaluation in self.evaluations],
                "losses": add_up_saved(losses),
                **save_pipeline(nlp, [*models], n_strings=self.n_strings),
            }
            try:
                write_checkpoint(
                    output,
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

    def restore(self, nlp: Language, loaded: Checkpoint) -> None:
        """Put a checkpoint in place, before the step that it was written before.

        Raises:
            CheckpointError: the data or the components are not those of the checkpoint.
            ValueError: no component is trained.
        """
        facts = loaded.facts
        assert self.streams is not None
        if self.of_this_process(facts["positions"]) != position_of_data():
            raise CheckpointError(
                "what reads the training data has drawn other random numbers than before the "
                f"checkpoint of step {self.step}: let readers, augmenters and batchers draw from "
                "Python's own generator only, or start anew without --resume"
            )
        models, optimizer = self.trained(nlp), self._used_optimizer()
        load_pipeline(nlp, [*models], facts)

        def load(models_file: Path, optimizer_file: Path) -> None:
            load_models(models, models_file)
            load_optimizer(optimizer, models, optimizer_file)

        loaded.use_files(load)
        if self.world.rank == 0:  # those of all processes
            self.totals.losses.load(facts["losses"])
        reseed_cupy(self.step)
        if self.world.rank < len(facts["random"]):
            self.streams.load(facts["random"][self.world.rank])
        else:
            self.streams.differ(self.step)

    def _used_optimizer(self) -> Optimizer:
        if self.optimizer is None:
            raise ValueError(
                "no component is trained, so there is nothing to write down: take one out of "
                "[training] frozen_components"
            )
        return self.optimizer
