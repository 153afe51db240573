"""What a component met in examples and could not learn from."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Protocol

logger = logging.getLogger(__name__)


# What to do about labels that are not the component's.
ADD_LABEL = "the component was not initialized with the label; use add_label() to have it learned"


class Skipped(Counter[str]):
    """How much of the examples a component could not learn from, by the reason.

    The first of each reason is logged, all are counted: anew in every update, so that what is
    met in each of ten epochs counts ten times.
    """

    def add(self, reason: str, count: int, *, name: str, value: str, step: str) -> None:
        """Count some, and log them if they are the first for this reason.

        Args:
            reason: what they are, in the plural.
            count: how many; nothing happens where there are none.
            name: the component's.
            value: one of them.
            step: why nothing is learned and what to do about it.
        """
        if not count:
            return
        if not self[reason]:
            logger.warning(
                "%r learns nothing from %s, such as %r: %s. This is logged once; how often it "
                "happens is counted in .skipped",
                name,
                reason,
                value,
                step,
            )
        self[reason] += count


class Skip(Protocol):
    """`Skipped.add` for one component."""

    def __call__(self, reason: str, count: int, *, value: str, step: str) -> None:
        """Count some, and log them if they are the first for this reason."""


def ignore(reason: str, count: int, *, value: str, step: str) -> None:
    """Neither count nor log."""
