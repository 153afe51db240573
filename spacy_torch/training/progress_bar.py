"""How far a training is: a bar in a terminal, a line a minute in a file."""

from __future__ import annotations

from time import perf_counter
from typing import IO, Any

import tqdm

from spacy_torch.training.meter import Reading
from spacy_torch.training.run_length import RunLength
from spacy_torch.training.score_table import format_count, format_number, format_seconds

SECONDS_BETWEEN_NUMBERS = 0.5
SECONDS_BETWEEN_LINES = 60.0


class ProgressBar:
    """A bar with the time left and the latest numbers, for a terminal."""

    def __init__(self, stream: IO[str], length: RunLength) -> None:
        self._length = length
        # Without smoothing the pace is that of the whole run, evaluations and all.
        self._bar: tqdm.tqdm[Any] = tqdm.tqdm(
            total=length.total,
            file=stream,
            leave=False,
            smoothing=0,
            dynamic_ncols=True,
            unit="step",
        )
        self._set_format()
        self._is_new = True
        self._shown = 0.0

    def is_due(self) -> bool:
        """Whether it is time to show numbers again."""
        return perf_counter() - self._shown >= SECONDS_BETWEEN_NUMBERS

    def show(self, reading: Reading, *, best: tuple[float, int] | None) -> None:
        """Show numbers from now on."""
        self._shown = perf_counter()
        self._bar.set_postfix_str(", ".join(describe(reading, best=best)), refresh=False)

    def move(self) -> None:
        """Go to the step that the run has come to."""
        if self._bar.total != self._length.total:
            self._bar.total = self._length.total
            self._set_format()
        step = max(self._length.step, 0)
        if self._is_new:
            self._bar.unpause()  # what came before the first step says nothing of the others
            self._is_new = False
        if step < self._bar.n or step > self._bar.n + 1:  # resumed, which spaCy says late
            self._bar.initial += step - self._bar.n
            self._bar.n = self._bar.last_print_n = step
        self._bar.update(step - self._bar.n)

    def hide(self) -> None:
        """Make room for other lines; the next `move` shows it again."""
        self._bar.clear()

    def close(self) -> None:
        """Take it away."""
        self._bar.close()

    def _set_format(self) -> None:
        known = "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._bar.bar_format = (
            "step {n_fmt} [{elapsed}{postfix}]" if self._bar.total is None else known
        )


class ProgressLines:
    """A line now and then, where there is no terminal."""

    def __init__(self, stream: IO[str], length: RunLength) -> None:
        self._stream, self._length = stream, length
        self._shown = perf_counter()

    def is_due(self) -> bool:
        """Whether it is time for a line."""
        return perf_counter() - self._shown >= SECONDS_BETWEEN_LINES

    def show(self, reading: Reading, *, best: tuple[float, int] | None) -> None:
        """Write a line."""
        self._shown = perf_counter()
        total, left = self._length.total, self._length.seconds_left
        parts = [
            f"step {self._length.step}" + ("" if total is None else f" of {total}"),
            f"{format_seconds(self._length.seconds)} so far",
            *([] if left is None else [f"{format_seconds(left)} left"]),
            *describe(reading, best=best),
        ]
        print(", ".join(parts), file=self._stream, flush=True)

    def move(self) -> None:
        """Nothing to be done: the next line says it."""

    def hide(self) -> None:
        """Nothing to be done: an evaluation has a line of its own."""
        self._shown = perf_counter()

    def close(self) -> None:
        """Nothing to be done."""


def describe(reading: Reading, *, best: tuple[float, int] | None) -> list[str]:
    """The latest numbers, in the order in which a narrow terminal may cut them off."""
    parts: list[str] = []
    if reading.words_per_second is not None:
        parts.append(f"{format_count(reading.words_per_second)} words/s")
    parts += [f"loss {name} {format_number(loss)}" for name, loss in reading.losses.items()]
    if best is not None:
        parts.append(f"best {best[0]:.4f} at {best[1]}")
    if reading.learn_rate is not None:
        parts.append(f"rate {format_number(reading.learn_rate)}")
    if reading.gradient_norm is not None:
        parts.append(f"norm {format_number(reading.gradient_norm)}")
    return parts
