"""Errors that a caller may want to tell apart."""

from __future__ import annotations


class NonFiniteError(ValueError):
    """A loss or a gradient became NaN or infinite; the weights were not touched."""


class ModuleOutputError(TypeError):
    """A torch module returned something else than its component needs."""
