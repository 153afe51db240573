"""What a reader left out or changed: all of it counted, and said once."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger(__name__)


class Noticed:
    """Counts by reason, and where each was met first.

    Attributes:
        counts: how often each happened.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, *, where: str, count: int = 1) -> None:
        """Count what happened, said in the plural; nothing if the count is 0."""
        if count:
            self.counts[reason] += count
            self._first.setdefault(reason, where)

    def describe(self) -> str:
        """All counts in one line; empty if nothing was noticed."""
        return "; ".join(
            f"{count} {reason} (first: {self._first[reason]})"
            for reason, count in self.counts.items()
        )

    def log(self, name: object) -> None:
        """Warn of everything, if there is something to warn of."""
        if self.counts:
            logger.warning("%s: %s", name, self.describe())
