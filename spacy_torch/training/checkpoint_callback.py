"""Checkpoints from plain ``spacy train``, by a callback in the config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from spacy.language import Language

from spacy_torch.distributed.world import World
from spacy_torch.training.checkpoint import set_checkpoint_aside
from spacy_torch.training.interval import Interval
from spacy_torch.training.resumable import Resumable

BeforeUpdate = Callable[[Language, dict[str, Any]], None]


class CheckpointCallback:
    """Writes checkpoints while ``spacy train`` runs, for ``torch-train --resume``."""

    def __init__(
        self, path: Path, *, steps: int, seconds: float, then: BeforeUpdate | None
    ) -> None:
        self.path = path
        self.then = then
        self._interval = Interval(steps=steps, seconds=seconds, world=World())
        self._before_update: BeforeUpdate | None = None

    def __call__(self, nlp: Language, at: dict[str, Any]) -> None:
        """Called by spaCy before each step."""
        if self._before_update is None:
            set_checkpoint_aside(self.path)
            run = Resumable(output=self.path, interval=self._interval)
            run.watch(nlp)
            self._before_update = run.wrap_before_update(self.then)
        self._before_update(nlp, at)


def build_checkpoint(
    path: str | Path,
    steps: int = 0,
    seconds: float = 60.0,
    then: Optional[Callable[[Language, dict[str, Any]], None]] = None,  # noqa: UP045
) -> Callable[[Language, dict[str, Any]], None]:
    """Writes checkpoints of a ``spacy train`` run, which ``torch-train --resume`` goes on from.

    For ``[training.before_update]``. ``path`` must be the directory given as ``--output``, which
    spaCy tells no callback. A checkpoint is written every so many ``steps``, or with 0 every so
    many ``seconds``. ``then`` is the callback that the config would have there otherwise.

    The resumed run ends as this one would have, if it has a seed. What plain ``spacy train``
    cannot do is to keep ``model-best`` of the run before (see ``spacy-torch.KeepBest.v1``).
    """
    return CheckpointCallback(Path(path), steps=steps, seconds=seconds, then=then)
