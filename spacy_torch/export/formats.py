"""What each format makes of a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


class NotExportable(ValueError):
    """A module that a format cannot hold, or that it would not make faster."""


@dataclass(frozen=True)
class Exported:
    """A module as a format holds it.

    Attributes:
        module: to take the tensors from.
        layout: what builds such a module again, beside the builder of the original and its
            sizes: plain JSON, empty for a module like the original.
        what: what was done, for a table.
    """

    module: nn.Module
    layout: dict[str, Any]
    what: str
