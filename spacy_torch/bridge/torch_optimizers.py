"""Optimizers that follow torch rather than Thinc."""

from thinc.optimizers import Optimizer


class TorchOptimizer(Optimizer):
    """A Thinc optimizer that moves torch parameters by torch's arithmetic."""
