"""Two programs that take turns, so that a busy moment of the machine meets both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Turn = Callable[[int], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of each turn; those of the same number ran one after the other."""

    ours: list[float]
    peer: list[float]

    def medians(self) -> dict[str, float]:
        """For orientation only: they say more about the machine than about the programs."""
        return {"ours": round(median(self.ours), 5), "peer": round(median(self.peer), 5)}


def take_turns(ours: Turn, peer: Turn, *, turns: int, warm_up: int = 1) -> Timing:
    """Time the turns of both: ours, peer, ours, peer, ...

    Args:
        ours: called with the number of the turn, from 0.
        peer: likewise.
        turns: how many are timed.
        warm_up: how many come before (with the number 0), untimed.
    """
    for _ in range(warm_up):
        ours(0)
        peer(0)
    timing = Timing([], [])
    for number in range(turns):
        timing.ours.append(_seconds(ours, number))
        timing.peer.append(_seconds(peer, number))
    return timing


def _seconds(turn: Turn, number: int) -> float:
    start = perf_counter()
    turn(number)
    return perf_counter() - start
