"""Holding a part of the training rows out for development."""

import random
from collections.abc import Sequence

from spacy_torch.training.labelled_text import LabelledText


def hold_out(
    rows: Sequence[LabelledText], *, fraction: float, seed: int
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Split rows in two, the second with the fraction given of every label; both keep the order.

    A label gets its share rounded down or up, so a rare one may be missing from the second part.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be >= 0 and < 1, got {fraction}")
    generator = random.Random(seed)
    draws = [generator.random() for _ in rows]
    # Every 1/fraction-th of the rows sorted by label, chance deciding the order within a label.
    order = sorted(range(len(rows)), key=lambda i: (rows[i].labels, draws[i]))
    held = {
        i for place, i in enumerate(order) if int((place + 1) * fraction) > int(place * fraction)
    }
    kept = [row for i, row in enumerate(rows) if i not in held]
    return kept, [rows[i] for i in sorted(held)]
