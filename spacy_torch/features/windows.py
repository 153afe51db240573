"""Cut long sequences into overlapping windows, and say which window answers for what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Windows(NamedTuple):
    """Windows of a batch of sequences, in order; a position counts from its sequence's start.

    Attributes:
        sequence: the sequence that the window is cut from.
        start, stop: what the window shows.
        own_start, own_stop: what it answers for; over all windows of a sequence, each
            position once.
    """

    sequence: Ints
    start: Ints
    stop: Ints
    own_start: Ints
    own_stop: Ints


def plan_windows(lengths: Ints, *, size: int, overlap: int) -> Windows:
    """Windows of at most `size` that cover every sequence.

    A position that two windows show belongs to the one in which it is farther from the edge.
    The last window is moved back to be as large as the others. A sequence that fits is one
    window, an empty one none.

    Args:
        lengths: of the sequences.
        size: the largest window.
        overlap: what a window has in common with the one before, less than `size`.
    """
    step = size - overlap
    n_windows = np.where(lengths > size, -(-(lengths - size) // step) + 1, lengths > 0)
    sequence = np.repeat(np.arange(len(lengths)), n_windows)
    length = lengths[sequence]
    number = ranges(np.zeros_like(n_windows), n_windows)
    start = np.minimum(number * step, np.maximum(length - size, 0))
    stop = np.minimum(start + size, length)
    own_start, own_stop = start.copy(), stop.copy()
    follows = sequence[1:] == sequence[:-1]
    border = (start[1:] + stop[:-1]) // 2
    own_start[1:] = np.where(follows, border, own_start[1:])
    own_stop[:-1] = np.where(follows, border, own_stop[:-1])
    return Windows(sequence, start, stop, own_start, own_stop)


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers `start, start + 1, ...` of each range, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
