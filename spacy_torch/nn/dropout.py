"""Dropout that either follows spaCy's training rate or keeps its own."""

from __future__ import annotations

from torch import nn


def build_dropout(rate: float | None) -> nn.Dropout:
    """A dropout module: `None` follows `[training.dropout]`, a number keeps that rate."""
    if rate is not None and not 0.0 <= rate < 1.0:
        raise ValueError(
            f"dropout must be at least 0 and less than 1, or None to follow"
            f" [training.dropout], got {rate}"
        )
    dropout = nn.Dropout(0.0 if rate is None else rate)
    if rate is not None:
        dropout.pinned = True  # type: ignore[assignment]
    return dropout
