"""What commands share that write a changed pipeline and compare it with the original."""

from pathlib import Path
from typing import Any

from spacy.cli._util import Opt
from wasabi import msg

SAMPLE: Any = Opt(
    None,
    "--sample",
    "-s",
    help="Texts to compare both on: one per line, .jsonl or .spacy (default: a few sentences)",
    exists=True,
    dir_okay=False,
)
FORCE: Any = Opt(False, "--force", "-F", help="Write it even if it annotates differently")


def check_free(output_path: Path) -> None:
    """End the command if something is where it would write."""
    if output_path.exists() and (output_path.is_file() or any(output_path.iterdir())):
        msg.fail(f"There is something at {output_path}", "Name another folder", exits=1)
