"""One evaluation of a training: what spaCy says of it, and what was measured until then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spacy_torch.training.meter import Reading

PREFIX = "progress"
MIB = 2**20


@dataclass(frozen=True)
class Evaluated:
    """A row of every log.

    Attributes:
        scores: those that are numbers; spaCy also gives tables, by label.
        is_best: whether none before was better, so that spaCy saves `model-best`.
        best: the best score so far, and its step.
    """

    epoch: int
    step: int
    seconds: int
    score: float
    scores: Mapping[str, float]
    is_best: bool
    best: tuple[float, int]
    reading: Reading

    def measures(self, *, by_component: bool) -> dict[str, float | None]:
        """What was measured, in a flat table.

        Args:
            by_component: whether gradient norms are told for each component, too.
        """
        reading = self.reading
        norms = {f"gradient_norm.{name}": norm for name, norm in reading.gradient_norms.items()}
        return {
            **{f"loss.{name}": loss for name, loss in reading.losses.items()},
            "learn_rate": reading.learn_rate,
            "gradient_norm": reading.gradient_norm,
            **(norms if by_component else {}),
            "words_per_second": reading.words_per_second,
            "memory_mib": _mib(reading.memory),
            "gpu_memory_mib": _mib(reading.gpu_memory),
            **{f"skipped_steps.{name}": n for name, n in reading.skipped_steps.items()},
        }


def read_info(info: Mapping[str, Any], reading: Reading) -> Evaluated:
    """What spaCy's training loop says of an evaluation, and a reading."""
    checkpoints = info["checkpoints"]
    # Of equal scores the first is the best, as for spaCy's patience.
    score, negative_step = max((score, -step) for score, step in checkpoints)
    return Evaluated(
        epoch=info["epoch"],
        step=info["step"],
        seconds=info["seconds"],
        score=float(info["score"]),
        scores={
            name: float(value)
            for name, value in info["other_scores"].items()
            if isinstance(value, (int, float))
        },
        is_best=info["score"] == score,
        best=(float(score), -negative_step),
        reading=reading,
    )


def _mib(n_bytes: int | None) -> float | None:
    return None if n_bytes is None else n_bytes / MIB
