"""A figure: how we compare with a peer, and whether that is as good as it should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from benchmarks.timing import Timing


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        peer: what it is compared with, in the same run.
        values: the ratios (or points) of the single runs; none if it could not be had.
        aim: what the median should reach; None if the figure is there for orientation.
        better: the direction in which the aim lies.
        unit: "x" for a ratio.
        details: anything else worth keeping, for the file and not for the table.
    """

    name: str
    peer: str
    values: list[float]
    aim: float | None
    better: Literal["higher", "lower"] = "higher"
    unit: str = "x"
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As kept in the results file."""
        return {
            "name": self.name,
            "peer": self.peer,
            "aim": self.aim,
            "better": self.better,
            "unit": self.unit,
            "min": _rounded(min(self.values, default=None)),
            "median": _rounded(median(self.values) if self.values else None),
            "max": _rounded(max(self.values, default=None)),
            "runs": len(self.values),
            "met": self.met,
            "details": self.details,
        }

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the aim; None without an aim."""
        if self.aim is None:
            return None
        if not self.values:
            return False
        middle = median(self.values)
        return middle >= self.aim if self.better == "higher" else middle <= self.aim


def speed_figure(
    name: str,
    peer: str,
    timing: Timing,
    *,
    aim: float | None,
    details: dict[str, Any] | None = None,
) -> Figure:
    """How many times faster than the peer we are."""
    return Figure(
        name,
        peer,
        [theirs / ours for ours, theirs in zip(timing.ours, timing.peer, strict=True)],
        aim,
        details={"seconds a turn": timing.medians(), **(details or {})},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
