"""An optimizer that moves torch parameters as torch does, and Thinc's as Thinc does."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from thinc.optimizers import FloatOrSeq, Optimizer
from torch import Tensor, nn

from spacy_torch.bridge.arithmetic import scale_
from spacy_torch.bridge.blocks import Block, gather_blocks, store_blocks
from spacy_torch.bridge.gradients import tensor_norms, total_norm
from spacy_torch.bridge.keys import is_array_key, parameter_key
from spacy_torch.bridge.parameter_groups import (
    ParameterGroup,
    is_exempt_from_decay,
    parse_groups,
)
from spacy_torch.bridge.parameter_state import update_counts
from spacy_torch.bridge.schedule_position import count_schedules

# After so many updates a group without parameters is an error. Not at once: a component whose
# first batches hold nothing to learn has not shown its parameters yet.
GRACE = 10

# Moves blocks: move(blocks, learn_rate=..., weight_decay=...).
Move = Callable[..., None]


class TorchOptimizer(Optimizer):
    """Moves torch modules by `move`, in groups, and Thinc's layers by Thinc's arithmetic.

    Gradients of a module are clipped to `grad_clip` by the norm of all of them together (0:
    not clipped). `groups` are dictionaries of the fields of `ParameterGroup`; a parameter
    belongs to the first group whose pattern is found in its name, be it `encoder.weight` or, with
    the component in front, `textcat.encoder.weight`.

    Thinc's layers in the same pipeline have the same learning rate, betas, decay and averages;
    they are clipped one by one, and groups and momentum do not concern them.
    """

    def __init__(
        self,
        move: Move,
        *,
        kind: str,
        n_moments: int,
        learn_rate: FloatOrSeq,
        weight_decay: float,
        decay_is_penalty: bool = False,
        betas: tuple[float, float] = (0.0, 0.0),
        eps: float = 1e-8,
        grad_clip: float = 1.0,
        groups: Sequence[Mapping[str, Any]] = (),
        use_averages: bool = False,
    ):
        super().__init__(
            learn_rate,
            L2=weight_decay,
            L2_is_weight_decay=not decay_is_penalty,
            beta1=betas[0],
            beta2=betas[1],
            eps=eps,
            grad_clip=grad_clip,
            use_averages=use_averages,
            use_radam=kind == "RAdam",
        )
        self.kind = kind
        self.groups = parse_groups(groups)
        set_rate = cast("Callable[..., None]", self._set_attr_or_schedule)  # pyright: ignore[reportUnknownMemberType]
        for place, group in enumerate(self.groups):
            if group.learn_rate is not None:
                set_rate(_rate_name(place), group.learn_rate)
        count_schedules(self)
        self._move = move
        self._n_moments = n_moments
        self._group_of: dict[tuple[int, str], int | None] = {}
        self._full_names: list[str] = []
        self._matched: set[int] = set()
        # In this process: one that goes on from a checkpoint has matched nothing yet.
        self._n_steps: Counter[int] = Counter()
        self._n_schedule_steps = 0

    def step(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        shim_id: int,
        norms: Mapping[str, float] | None = None,
        owner: str | None = None,
    ) -> None:
        """Move the parameters of one module that have a gradient and are not frozen.

        Args:
            owner: the component's name, which patterns may begin with.

        Raises:
            ValueError: a group has no parameter after `GRACE` updates, or has one and should not.
        """
        self._match(parameters, shim_id=shim_id, owner=owner)
        counts, count_key = update_counts(self), parameter_key(shim_id, "")
        step = counts.get(count_key, 0)
        if self._n_steps[shim_id] >= GRACE:
            self._check_matched()
        self._n_steps[shim_id] += 1
        counts[count_key] = step + 1
        moving = {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.grad is not None and not self.is_frozen(name, shim_id=shim_id, step=step)
        }
        blocks = gather_blocks(self, moving, shim_id=shim_id, n_moments=self._n_moments)
        if self.grad_clip:
            _clip_together(blocks, norms=norms, threshold=self.grad_clip)
        alike: dict[tuple[float, float], list[Block]] = {}
        for block in blocks:
            place = self._group_of.get((shim_id, block.name))
            settings = (
                self._rate(place),
                self._decay(place, block.name, parameters[block.name]),
            )
            alike.setdefault(settings, []).append(block)
        for (learn_rate, weight_decay), group in alike.items():
            self._move(group, learn_rate=learn_rate, weight_decay=weight_decay)
        store_blocks(blocks)

    def is_frozen(self, name: str, *, shim_id: int, step: int) -> bool:
        """Whether the module's update numbered `step`, from 0, passes the parameter over."""
        group = self._group(self._group_of.get((shim_id, name)))
        return group is not None and group.is_frozen(step)

    def step_schedules(self) -> None:
        """Go on to the next values of the schedules.

        Raises:
            ValueError: a group has no parameter after `GRACE` updates.
        """
        if self._group_of:
            if self._n_schedule_steps >= GRACE:
                self._check_matched()
            self._n_schedule_steps += 1
        super().step_schedules()

    def __call__(self, key: Any, weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> Any:
        """Move a parameter shown as an array by Thinc's arithmetic, unless it is frozen."""
        if is_array_key(key):
            _, shim_id, name = key
            step = update_counts(self).get(parameter_key(shim_id, ""), 0)
            if self.is_frozen(name, shim_id=shim_id, step=step):
                return weights, gradient
        thincs_step = cast("Callable[..., Any]", super().__call__)
        return thincs_step(key, weights, gradient, lr_scale=lr_scale)

    def _match(
        self, parameters: Mapping[str, nn.Parameter], *, shim_id: int, owner: str | None
    ) -> None:
        for name in parameters:
            if (shim_id, name) in self._group_of:
                continue
            places = (i for i, group in enumerate(self.groups) if _finds(group, name, owner=owner))
            place = next(places, None)
            self._group_of[shim_id, name] = place
            self._full_names.append(name if owner is None else f"{owner}.{name}")
            if place is not None:
                self._matched.add(place)
                if self.groups[place].refuse:
                    raise ValueError(
                        f"the parameter {self._full_names[-1]} belongs to no group of the "
                        f"optimizer's, but should{_hint(self.groups[place])}"
                    )

    def _check_matched(self) -> None:
        missed = [
            group
            for place, group in enumerate(self.groups)
            if place not in self._matched and not group.refuse
        ]
        if missed:
            patterns = " or ".join(repr(group.pattern) for group in missed)
            names = self._full_names
            shown = ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if names[8:] else "")
            raise ValueError(
                f"no parameter matches {patterns} of the optimizer's groups, or an "
                "earlier group has it: a parameter belongs to the first group that matches; "
                f"the names are {shown}{_hint(missed[0])}"
            )

    def _group(self, place: int | None) -> ParameterGroup | None:
        return None if place is None else self.groups[place]

    def _rate(self, place: int | None) -> float:
        group = self._group(place)
        if place is None or group is None:
            return self.learn_rate
        if group.learn_rate is not None:
            return getattr(self, _rate_name(place))
        return self.learn_rate * (
            1.0 if group.learn_rate_factor is None else group.learn_rate_factor
        )

    def _decay(self, place: int | None, name: str, parameter: Tensor) -> float:
        group = self._group(place)
        if group is not None and group.weight_decay is not None:
            return group.weight_decay
        return 0.0 if is_exempt_from_decay(name, parameter) else self.L2


def _finds(group: ParameterGroup, name: str, *, owner: str | None) -> bool:
    if re.search(group.pattern, name):
        return True
    if owner is None:
        return False
    found = re.search(group.pattern, f"{owner}.{name}")
    # "encoder" is not meant for everything in a component called "my_encoder".
    return found is not None and found.end() > len(owner)


def _hint(group: ParameterGroup) -> str:
    return f": {group.hint}" if group.hint else ""


def _rate_name(place: int) -> str:
    return f"groups.{place}.learn_rate"


def _clip_together(
    blocks: Sequence[Block], *, norms: Mapping[str, float] | None, threshold: float
) -> None:
    """Shorten all gradients by one factor, which keeps the direction of the step."""
    names = [block.name for block in blocks]
    if norms is None:
        found = tensor_norms([block.gradient for block in blocks])
        norms = dict(zip(names, found, strict=True))
    norm = total_norm({name: norms[name] for name in names})
    if norm > threshold:
        by_device: dict[Any, list[Tensor]] = {}
        for block in blocks:
            by_device.setdefault(block.gradient.device, []).append(block.gradient)
        for gradients in by_device.values():
            scale_(gradients, [threshold / norm] * len(gradients))
