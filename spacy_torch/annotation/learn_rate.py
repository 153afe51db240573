"""The learning rate of a session that nobody knows the length of."""

from __future__ import annotations

from thinc.api import Optimizer


def step_up(optimizer: Optimizer) -> None:
    """Go on to the next values of an optimizer's schedules, but never to a lower learning rate.

    A schedule that begins at nothing, to warm up, would teach nothing if it did not go on; one
    that ends at nothing is made for a training of known length, and would stop the learning
    in the middle of a long session.
    """
    before = optimizer.learn_rate
    optimizer.step_schedules()
    optimizer.learn_rate = max(before, optimizer.learn_rate)
