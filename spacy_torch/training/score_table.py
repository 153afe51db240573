"""The table of evaluations that a training prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spacy_torch.training.evaluated import Evaluated
from spacy_torch.training.meter import Reading

NOTHING = "-"
MAX_WIDTH = 20


@dataclass(frozen=True)
class ScoreTable:
    """Formats a row for each evaluation, as wide as its two lines of header.

    Args:
        components: those that have losses.
        scores: the names of the scores to show.
        norms: components whose gradient norms are shown one by one.
        has_norm: whether there is a column for the norm of all gradients.
        has_gpu: whether there is a column for the GPU's memory.
    """

    components: Sequence[str]
    scores: Sequence[str]
    norms: Sequence[str] = ()
    has_norm: bool = True
    has_gpu: bool = False

    def header(self) -> str:
        """Two lines with the names of the columns, and one under them."""
        rows = list(zip(*self._columns(), strict=True))
        return "\n".join(map(self._format, (*rows, ["-" * width for width in self._widths()])))

    def row(self, found: Evaluated, *, seconds_left: float | None) -> str:
        """The line of an evaluation; the best so far have a star beside their score."""
        reading = found.reading
        cells = [
            str(found.epoch),
            str(found.step),
            *(format_number(reading.losses.get(name)) for name in self.components),
            *(_format_score(name, found.scores.get(name)) for name in self.scores),
            f"{found.score:.4f}",
            "*" if found.is_best else "",
            format_number(reading.learn_rate),
            *([format_number(reading.gradient_norm)] if self.has_norm else []),
            *(format_number(reading.gradient_norms.get(name)) for name in self.norms),
            format_count(reading.words_per_second),
            *self._memory(reading),
            NOTHING if seconds_left is None else format_seconds(seconds_left),
        ]
        return self._format(cells)

    def _columns(self) -> list[tuple[str, str]]:
        return [
            ("", "epoch"),
            ("", "step"),
            *(("mean loss", _shorten(name)) for name in self.components),
            *(("", _shorten(name)) for name in self.scores),
            ("", "score"),
            ("", ""),
            ("learning", "rate"),
            *([("gradient", "norm")] if self.has_norm else []),
            *(("gradient", _shorten(name)) for name in self.norms),
            ("", "words/s"),
            ("memory", "MiB"),
            *([("GPU", "MiB")] if self.has_gpu else []),
            ("time", "left"),
        ]

    def _memory(self, reading: Reading) -> list[str]:
        sizes = [reading.memory, *([reading.gpu_memory] if self.has_gpu else [])]
        return [format_count(None if size is None else size / 2**20) for size in sizes]

    def _widths(self) -> list[int]:
        return [
            1 if not (above or below) else max(len(above), len(below), 6)
            for above, below in self._columns()
        ]

    def _format(self, cells: Sequence[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells, self._widths(), strict=True))
        return "  ".join(padded).rstrip()


def format_number(value: float | None) -> str:
    """Four digits of a number."""
    return NOTHING if value is None else f"{value:.4g}"


def format_count(value: float | None) -> str:
    """A whole number."""
    return NOTHING if value is None else f"{value:,.0f}"


def format_seconds(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _format_score(name: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if name == "speed" else f"{100 * value:.2f}"  # as spaCy shows them


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_WIDTH else f"{name[: MAX_WIDTH - 2]}.."
