"""How many steps a training will take at most, and how long that will be."""

from __future__ import annotations

from time import perf_counter


class RunLength:
    """Counts steps against `max_steps` and `max_epochs`, of which 0 and less mean no end.

    How many steps an epoch has is not known before one has ended, and about right then.

    Attributes:
        step: the number of the last step, from 0; -1 before it.
        total: the number of the last step there can be; None where it is not known.
    """

    def __init__(self, *, max_steps: int, max_epochs: int) -> None:
        self.step = -1
        self.total = max_steps if max_steps > 0 else None
        self._max_steps, self._max_epochs = max_steps, max_epochs
        # After the first step of this process, before which the data were read.
        self._n_steps = -1
        self._start = perf_counter()

    @property
    def seconds(self) -> float:
        """How long all steps but the first have taken, with what came between them."""
        return perf_counter() - self._start

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes, evaluations and all, at the pace so far."""
        if self.total is None or self._n_steps < 1:
            return None
        return max(self.total - self.step, 0) * self.seconds / self._n_steps

    def take_step(self) -> None:
        """A step has ended."""
        self.step += 1
        self._n_steps += 1
        if self._n_steps == 0:
            self._start = perf_counter()

    def take_position(self, *, step: int, epoch: int) -> None:
        """What an evaluation says of the step that has just ended."""
        self.step = step
        if self._max_epochs > 0 and epoch > 0:
            # Between `epoch` and `epoch + 1` epochs have been seen.
            by_epochs = round((step + 1) * self._max_epochs / (epoch + 0.5))
            self.total = min(by_epochs, self._max_steps) if self._max_steps > 0 else by_epochs
            self.total = max(self.total, step)
