"""Runs of `torch-train` on each rank, with callbacks of a user's that note what is done."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import registry

from spacy_torch.distributed.world import find_world
from spacy_torch.training.train import train


@registry.callbacks("tests.note_updates.v1")
def build_note_updates(folder: str) -> Callable[[Language, dict[str, Any]], None]:
    """Writes down the texts that each rank learns from, a line each, with the epoch."""
    return partial(_note_updates, Path(folder), {})


def _note_updates(folder: Path, seen: dict[str, Any], nlp: Language, at: dict[str, Any]) -> None:
    rank = find_world().rank
    seen["at"] = at
    if "update" not in seen:
        update = seen["update"] = nlp.update

        def noted(examples, *args, **settings):
            with (folder / f"updates.{rank}").open("a") as file:
                for eg in examples:
                    file.write(f"{seen['at']['epoch']} {eg.text}\n")
            return update(examples, *args, **settings)

        nlp.update = noted  # type: ignore[method-assign]
    with (folder / f"steps.{rank}").open("a") as file:
        file.write(f"{at['step']}\n")


@registry.callbacks("tests.note_saved.v1")
def build_note_saved(folder: str) -> Callable[[Language], Language]:
    """Writes down the rank that saves."""

    def note_saved(nlp: Language) -> Language:
        with (Path(folder) / "saved").open("a") as file:
            file.write(f"{find_world().rank}\n")
        return nlp

    return note_saved


@registry.callbacks("tests.kill_once.v1")
def build_kill_once(folder: str, rank: int, step: int) -> Callable[[Language, Any], None]:
    """Kills a rank at a step, the first time that it gets there."""

    def kill(nlp: Language, at: dict[str, Any]) -> None:
        mark = Path(folder) / "killed"
        if at["step"] == step and find_world().rank == rank and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def run_training(
    config: Path, output: Path, overrides: dict[int, dict[str, Any]] | None = None, **settings: Any
) -> str | None:
    """Train; what was raised, as text. `overrides` are those of single ranks."""
    own = (overrides or {}).get(find_world().rank)
    try:
        train(config, output, overrides=own, **settings)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None
