"""When a training writes its next checkpoint."""

from __future__ import annotations

from time import monotonic

from spacy_torch.distributed.world import World

# Writing takes this share of the time at most: a slow one is followed by a longer wait.
MAX_SHARE = 0.02


class Interval:
    """Every so many steps, or else every so many seconds.

    Args:
        steps: how many; 0 goes by the seconds.
        seconds: how many at least; more where checkpoints take long.
        world: all processes, which must agree. They ask each other in a few of the steps only.
    """

    def __init__(self, *, steps: int = 0, seconds: float = 60.0, world: World) -> None:
        if steps < 0 or not seconds >= 0:
            raise ValueError(
                "a checkpoint is written every so many steps or seconds, which must not be "
                f"negative, got {steps} steps and {seconds} seconds"
            )
        self.steps = steps
        self.seconds = seconds
        self.world = world
        self._meeting = 1
        self.start(0, cost=0.0)

    def start(self, step: int, *, cost: float) -> None:
        """A checkpoint was written, or read, before a step, and took so many seconds."""
        self._since = monotonic()
        self._step = step
        self._wait = max(self.seconds, cost / MAX_SHARE)
        self._meeting = step + 1

    def is_due(self, step: int) -> bool:
        """Whether to write one before this step; the same in all processes."""
        if step == 0:
            return False  # there is nothing to keep yet
        if self.steps:
            return step % self.steps == 0
        if step < self._meeting:
            return False
        is_due, self._meeting = self.world.broadcast(self._plan(step))
        return is_due

    def _plan(self, step: int) -> tuple[bool, int]:
        """Whether it is time, and the next step to ask in."""
        elapsed = monotonic() - self._since
        left = self._wait - elapsed
        if left <= 0 or self.world.size == 1:
            return left <= 0, step + 1
        seconds_per_step = max(elapsed / (step - self._step), 1e-6)
        # Half of the way only: the next steps may be slower.
        return False, step + max(1, int(left / seconds_per_step / 2))
