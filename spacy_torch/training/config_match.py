"""Whether a run may go on with a config: what differs from the one that it was started with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any

from spacy_torch.training.checkpoint import Checkpoint, CheckpointError

PACKAGES = ("spacy", "thinc", "torch", "spacy-torch")
CALLBACK = "spacy-torch.Checkpoint.v1"
# How long to train and what to show may change. Where the data lies, too: what it is gets
# compared by itself.
FREE = (
    "paths.*",
    "corpora.*.path",
    "training.max_steps",
    "training.patience",
    "training.logger.*",
)
_MISSING = "nothing"


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """An interpolated config as JSON, without our callback, which a resumed run does not need."""
    plain = json.loads(json.dumps(config, default=str))
    training = plain.get("training", {})
    before_update = training.get("before_update")
    if isinstance(before_update, dict) and before_update.get("@callbacks") == CALLBACK:
        training["before_update"] = before_update.get("then")
    return plain


def check_loaded(loaded: Checkpoint, config: Mapping[str, Any]) -> None:
    """Look whether a run with this config can go on from a checkpoint, before anything is done.

    Raises:
        CheckpointError: it is of other versions, or of another config.
    """
    check_versions(loaded.facts["versions"])
    given = loaded.facts.get("given")
    if given is not None:
        check_config(given, plain_config(config))


def check_config(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Look whether two configs make the same steps.

    Raises:
        CheckpointError: naming the settings that differ.
    """
    differing = [
        f"{name} was {json.dumps(before)}, is {json.dumps(now)}"
        for name, before, now in find_differences(saved, given)
        if not _may_differ(name, before, now)
    ]
    if differing:
        shown = "; ".join(differing[:5]) + (
            f"; and {len(differing) - 5} more" * bool(differing[5:])
        )
        raise CheckpointError(
            f"the checkpoint is of a run with another config: {shown}. Use the config that the run "
            "was started with, or start anew without --resume (only how long to train, the logger "
            "and where the data lies may differ)"
        )


def find_differences(
    saved: Mapping[str, Any], given: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The dotted name of each setting that differs, and its two values."""
    for name in sorted(saved.keys() | given.keys()):
        before, now = saved.get(name, _MISSING), given.get(name, _MISSING)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from find_differences(before, now, f"{prefix}{name}.")
        elif not is_same(before, now):
            yield f"{prefix}{name}", before, now


def is_same(before: Any, now: Any) -> bool:
    """Whether two values of a setting mean the same: floats but for their last digits.

    A 0.3 on the command line is read as 0.30000000000000004, one in a file is not.
    """
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(is_same, before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(is_same(before[key], now[key]) for key in now)
    if isinstance(before, float) and isinstance(now, float):
        return math.isclose(before, now, rel_tol=1e-12)
    return before == now


def current_versions() -> dict[str, str]:
    """The versions on which the numbers of a training depend; not which build of torch it is."""
    return {package: version(package).partition("+")[0] for package in PACKAGES}


def check_versions(saved: Mapping[str, str]) -> None:
    """Look whether a checkpoint was written with these packages.

    Raises:
        CheckpointError: naming those that differ.
    """
    current = current_versions()
    differing = [
        f"{package} was {saved.get(package)}, is {current[package]}"
        for package in PACKAGES
        if saved.get(package) != current[package]
    ]
    if differing:
        raise CheckpointError(
            f"the checkpoint was written with other versions: {'; '.join(differing)}. Install "
            "those, or start anew without --resume"
        )


def _may_differ(name: str, before: Any, now: Any) -> bool:
    if name == "training.max_epochs":  # -1 is for corpora that are read anew in every epoch
        return _MISSING not in (before, now) and (before < 0) == (now < 0)
    return any(fnmatchcase(name, free) for free in FREE)
