"""Whether all ranks were started to do the same thing."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from spacy_torch.distributed.world import NotTogetherError, World
from spacy_torch.training.config_match import is_same

# Each machine may have its data somewhere else, and its own GPU.
FREE = ("config.paths.*", "config.corpora.*.path", "config.system.gpu_allocator")
NOTHING = "nothing"


def check_same_run(world: World, config: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Compare config, versions and code of the ranks before anything is done.

    Args:
        config: interpolated.
        versions: of packages, by name.

    Raises:
        NotTogetherError: naming what differs on which rank.
    """
    if world.size == 1:
        return
    own = {"config": json.loads(json.dumps(config, default=str))}
    own["versions"] = {**versions, "python": ".".join(platform.python_version_tuple()[:2])}
    own["code"] = {"--code": _digest_code()}
    ranks = [dict(_flatten(told)) for told in world.gather(own)]
    problems = [
        f"{name} is {json.dumps(ranks[0].get(name, NOTHING))} on rank 0, "
        f"{json.dumps(of_rank.get(name, NOTHING))} on rank {rank}"
        for rank, of_rank in enumerate(ranks)
        for name in sorted(of_rank.keys() | ranks[0].keys())
        if not is_same(of_rank.get(name, NOTHING), ranks[0].get(name, NOTHING))
        and not any(fnmatchcase(name, free) for free in FREE)
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" * bool(problems[5:])
        raise NotTogetherError(
            f"the processes were not started alike: {'; '.join(problems[:5])}{more}. Give all of "
            "them the same config, overrides, code and packages"
        )


def _flatten(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(tree, dict) or not tree:
        return [(prefix, tree)]
    return [
        leaf
        for name, part in tree.items()
        for leaf in _flatten(part, f"{prefix}.{name}" if prefix else str(name))
    ]


def _digest_code() -> str:
    """A digest of the file given as `--code`, which spaCy imports under a name of its own."""
    file = getattr(sys.modules.get("python_code"), "__file__", None)
    if file is None or not Path(file).is_file():
        return NOTHING
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
