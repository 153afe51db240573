"""The score that a saved pipeline had when it was saved."""

from __future__ import annotations

import json
from pathlib import Path

from spacy.util import load_config


def saved_score(path: Path) -> float:
    """What spaCy's training loop had as its score, by the weights in the pipeline's config.

    Minus infinity where there is no pipeline, or not all of it.
    """
    try:
        found = json.loads((path / "meta.json").read_text(encoding="utf-8"))["performance"]
        weights = load_config(path / "config.cfg")["training"]["score_weights"]
        return sum(weight * found.get(name, 0.0) for name, weight in weights.items() if weight)
    except (OSError, ValueError, KeyError, TypeError):
        return float("-inf")
