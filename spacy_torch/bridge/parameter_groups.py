"""Settings for some of a module's parameters, chosen by regular expressions on their names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from thinc.api import registry
from torch import Tensor

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "learn_rate": ((int, float, Iterable), "a number or a schedule"),
    "learn_rate_factor": ((int, float), "a number"),
    "weight_decay": ((int, float), "a number"),
    "freeze": ((bool,), "true or false"),
    "unfreeze_step": ((int,), "a whole number"),
    "refuse": ((bool,), "true or false"),
    "hint": ((str,), "a text"),
}


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """What holds for the parameters whose name the pattern is found in (`re.search`).

    A name is that of the parameter in its module, or the component's, a dot and that.

    `learn_rate` replaces the optimizer's, a number or a schedule; `learn_rate_factor` multiplies
    it, so that the group shares the optimizer's schedule. A `weight_decay` given here also
    holds for biases and norms. `freeze` keeps the weights as they are: for good, or for the
    first `unfreeze_step` updates of the module; `unfreeze_step` alone says so too. A group
    without parameters is an error and so is, with `refuse`, one that has any; `hint` is then
    said, too.
    """

    pattern: str
    learn_rate: Any = None
    learn_rate_factor: float | None = None
    weight_decay: float | None = None
    freeze: bool = False
    unfreeze_step: int | None = None
    refuse: bool = False
    hint: str = ""

    def is_frozen(self, step: int) -> bool:
        """Whether the update numbered `step`, from 0, passes the group over."""
        if self.unfreeze_step is not None:
            return step < self.unfreeze_step
        return self.freeze


def parse_groups(groups: Sequence[Mapping[str, Any]]) -> list[ParameterGroup]:
    """Groups as given in a config, checked.

    Raises:
        ValueError: listing every mistake in every group.
    """
    mistakes: list[str] = []
    parsed: list[ParameterGroup] = []
    for place, group in enumerate(groups):
        found = _mistakes(group)
        mistakes.extend(f"groups[{place}]: {mistake}" for mistake in found)
        if not found:
            parsed.append(ParameterGroup(**{**group, **_resolved_rate(group)}))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return parsed


def is_exempt_from_decay(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a bias or belongs to a normalisation, going by shape and name.

    Everything with one dimension counts; so does a bias of more (a maxout layer's), and all
    that is in a sub-module called like `norm1` or `LayerNorm`.
    """
    *owners, own_name = name.lower().split(".")
    is_bias = own_name.startswith("bias") or own_name.endswith("bias")
    return parameter.ndim <= 1 or is_bias or any("norm" in owner for owner in owners)


def _resolved_rate(group: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule written as a block, which a config does not resolve inside a list."""
    rate = group.get("learn_rate")
    if not isinstance(rate, Mapping):
        return {}
    block = {"learn_rate": dict(cast("Mapping[str, Any]", rate))}
    return dict(registry.resolve(block))  # pyright: ignore[reportUnknownMemberType]


def _mistakes(group: Mapping[str, Any]) -> list[str]:
    known = [field.name for field in fields(ParameterGroup)]
    unknown = [key for key in group if key not in known]
    mistakes = [f"unknown key {key!r}, expected one of {', '.join(known)}" for key in unknown]
    pattern = group.get("pattern")
    if not isinstance(pattern, str):
        mistakes.append(f"pattern must be a regular expression, got {pattern!r}")
    else:
        try:
            re.compile(pattern)
        except re.error as error:
            mistakes.append(f"pattern {pattern!r} is not a regular expression: {error}")
    if group.get("learn_rate") is not None and group.get("learn_rate_factor") is not None:
        mistakes.append("give learn_rate or learn_rate_factor, not both")
    for key, (kinds, expected) in _KINDS.items():
        value = group.get(key)
        # True is an int, and "false" would count as true.
        is_other = isinstance(value, bool) != (bool in kinds) or not isinstance(value, kinds)
        # A text is iterable, but no schedule.
        is_other = is_other or (isinstance(value, str) and str not in kinds)
        if value is not None and is_other:
            mistakes.append(f"{key} must be {expected}, got {value!r}")
    rate = group.get("learn_rate")
    if isinstance(rate, Mapping) and "@schedules" not in rate:
        mistakes.append(f"learn_rate as a block must name its @schedules, got {rate!r}")
    for key in ("learn_rate", "learn_rate_factor", "weight_decay", "unfreeze_step"):
        value = group.get(key)
        if isinstance(value, (int, float)) and not value >= 0:
            mistakes.append(f"{key} must be >= 0, got {value}")
    return mistakes
