"""What a row's function is told, and where the repository is."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """How to measure a row.

    Attributes:
        quick: a smoke test: as few repetitions as show that it runs.
        data: folder of data sets that are not part of the repository; may be missing.
    """

    quick: bool
    data: Path
