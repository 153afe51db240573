"""A training in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorboardLog:
    """Writes numbers to a directory of event files.

    A run that begins again, or was resumed at an earlier step, hides what an earlier one wrote of
    the same steps.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None
        _load_writer()  # or say so before the first step and not after it

    def write(self, values: Mapping[str, float], *, step: int) -> None:
        """Add a point to each curve, which is named as its value."""
        if self._writer is None:
            self._writer = _load_writer()(str(self.path), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _load_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"logging to TensorBoard needs a package that is not installed ({error}): "
            'pip install "spacy-torch[tensorboard]", or leave out `tensorboard` in the '
            "[training.logger] block"
        ) from error
    return SummaryWriter
