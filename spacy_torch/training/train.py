"""Training as ``spacy train`` does it, in one process or many, that a kill does not undo."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import ensure_path, load_config, logger
from thinc.api import Config
from thinc.compat import has_gpu
from wasabi import msg

from spacy_torch.bridge.atomic import replacing
from spacy_torch.distributed.world import World, find_world
from spacy_torch.training.checkpoint import (
    FINISHED,
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    set_checkpoint_aside,
)
from spacy_torch.training.checkpoint_callback import CheckpointCallback
from spacy_torch.training.config_match import (
    check_loaded,
    current_versions,
    is_same,
    plain_config,
)
from spacy_torch.training.data_parallel import DataParallel
from spacy_torch.training.interrupted_best import set_best_aside, settle_best
from spacy_torch.training.interval import Interval
from spacy_torch.training.keep_best import keep_best
from spacy_torch.training.resumable import Resumable
from spacy_torch.training.same_run import check_same_run
from spacy_torch.training.wrapped_config import WrappedConfig, check_settings


class NoGpuError(ValueError):
    """Thinc has no GPU; the message says how torch modules get one."""


class OutputError(ValueError):
    """The output directory cannot be written into; the message says why."""


def train(
    config_path: str | Path,
    output_path: str | Path | None = None,
    *,
    use_gpu: int = -1,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    steps: int = 0,
    seconds: float = 60.0,
) -> None:
    """Run ``spacy.cli.train.train`` with checkpoints in the output directory.

    Args:
        resume: whether to go on from the checkpoint there, if there is one.
        steps: how many steps from checkpoint to checkpoint; 0 goes by the seconds.
        seconds: how many of them at least.

    Raises:
        CheckpointError: the checkpoint is of another config, corpus or version, or damaged.
        NoGpuError: Thinc has no GPU for `use_gpu`.
        OutputError: the output directory cannot be written into.
        NotTogetherError: the processes were started differently, or have other data, or a
            component cannot be trained by several.
    """
    from spacy.cli import _util
    from spacy.cli.train import train as spacy_train

    if use_gpu >= 0 and not has_gpu:
        raise NoGpuError(
            f"GPU {use_gpu} was asked for, for the layers of Thinc, which finds none: on CUDA it "
            "needs CuPy as well. Torch modules need neither: leave --gpu-id out, and set "
            'device = "auto" in their [model.runtime]'
        )
    output = ensure_path(output_path)
    with _util.show_validation_error(config_path):
        config = load_config(config_path, overrides=dict(overrides or {}), interpolate=False)
        given = config.interpolate()
    world = find_world()
    check_same_run(world, plain_config(given), current_versions())
    parallel = DataParallel(world)
    with parallel.speaking(), _util.show_validation_error(config_path):
        check_settings(config)
    loaded = None
    if output is not None:
        if resume and world.broadcast(_is_finished(output, given)):
            logger.warning("The run in %s has ended, there is nothing to go on with", output)
            return
        _check_output(output, world)
        loaded = _load(output, given, world=world, resume=resume)
    run = Resumable(
        output=None if world.rank else output,
        interval=Interval(steps=steps, seconds=seconds, world=world),
        loaded=loaded,
        given=given,
        world=world,
        even_out=parallel.even_out,
        when_begun=(parallel.begin,),
    )
    wrapped = _wrap(config, run, parallel)
    try:
        with tempfile.TemporaryDirectory(prefix="spacy-torch-") as directory:
            path = Path(directory) / "config.cfg"
            wrapped.config.to_disk(path, interpolate=False)
            with parallel.speaking():
                spacy_train(path, run.output, use_gpu=parallel.choose_gpu(use_gpu))
        run.end()
    except BaseException:
        run.give_up()
        if run.output is not None:
            settle_best(run.output)
        raise
    if run.output is not None:
        settle_best(run.output)
        with replacing(run.output / FINISHED) as file:
            file.write(json.dumps(plain_config(given)).encode())
    world.broadcast(None)  # no process ends before the pipeline is saved


def _wrap(config: Config, run: Resumable, parallel: DataParallel) -> WrappedConfig:
    def begin_reading(nlp: Language) -> None:
        wrapped.put_back(nlp)
        parallel.is_reading, run.state.is_sharded = True, parallel.is_sharded

    def wrap_logger(set_up: Any) -> Any:
        return run.wrap_logger(set_up, when_set_up=begin_reading)

    def wrap_before_update(callback: Any) -> Any:
        # Ours has nothing to write here, and may have the user's own inside.
        is_ours = isinstance(callback, CheckpointCallback)
        return run.wrap_before_update(callback.then if is_ours else callback)

    wrapped = WrappedConfig(
        config,
        {
            "optimizer": run.wrap_optimizer,
            "batcher": run.wrap_batcher,
            "logger": wrap_logger,
            "before_update": wrap_before_update,
            "before_to_disk": run.wrap_before_to_disk,
        },
    )
    training = config.interpolate().get("training", {})
    if parallel.world.size > 1 and training.get("max_epochs", 0) < 0:
        wrapped.wrap_reader(training.get("train_corpus", "corpora.train"), parallel.wrap_reader)
    return wrapped


def _check_output(output: Path, world: World) -> None:
    """Look whether the first process can write there, before anything is moved or trained."""
    problem = ""
    if world.rank == 0:
        try:
            output.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=output):
                pass
        except OSError as error:
            problem = f"the output directory {output} cannot be written into: {error}. Name another"
    _raise_in_all(OutputError, problem, world)


def _load(
    output: Path, given: Mapping[str, Any], *, world: World, resume: bool
) -> Checkpoint | None:
    """The checkpoint to go on from, in every process; the first one makes room for a new run."""
    loaded, problem = None, ""
    if world.rank == 0:
        settle_best(output)
        try:
            loaded = read_checkpoint(output) if resume else None
            if loaded is not None:
                check_loaded(loaded, given)
        except CheckpointError as error:
            problem = str(error)
    _raise_in_all(CheckpointError, problem, world)
    if world.rank == 0:
        if loaded is not None:
            msg.info(
                f"Going on with step {loaded.step}, where the last checkpoint was written. The "
                "steps before are gone through without training"
            )
            set_best_aside(output, loaded)
        elif resume:
            logger.warning("%s has no checkpoint: the training starts anew", output)
        if loaded is None:  # what an earlier run has left, spaCy or we would delete
            keep_best(output)
            set_checkpoint_aside(output)
    sent = world.broadcast(None if loaded is None or world.size == 1 else loaded.to_send())
    return loaded if world.rank == 0 else sent


def _raise_in_all(kind: type[Exception], problem: str, world: World) -> None:
    """Raise in every process what the first one has found, if anything: none then waits for it."""
    problem = world.broadcast(problem)
    if problem:
        raise kind(problem)


def _is_finished(output: Path, given: Mapping[str, Any]) -> bool:
    file = output / FINISHED
    return file.exists() and is_same(
        json.loads(file.read_text(encoding="utf8")), plain_config(given)
    )
