"""Mixed precision as a policy: where to autocast, and how gradients are kept from underflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from spacy_torch.bridge.runtime import Runtime

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class FullPrecision:
    """Float32 throughout: every hook does nothing."""

    scale = 1.0

    @property
    def state(self) -> dict[str, float]:
        """What the next steps depend on, as JSON; nothing, unless gradients are scaled."""
        return {}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        if state:
            raise ValueError(
                f"the saved state {state} is of another precision than {type(self).__name__}: use "
                "the config that the training was started with"
            )

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The context for a forward pass."""
        return contextlib.nullcontext()

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Undo the scale on accumulated gradients, once per step."""

    def after_step(self, *, overflowed: bool) -> bool:
        """Adapt the scale; tell whether an overflow was only the scale's doing."""
        return False


class HalfPrecision(FullPrecision):
    """Autocast to bfloat16, whose range needs no scaling."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    @override
    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype=self.dtype)


class ScaledHalfPrecision(HalfPrecision):
    """Autocast to float16 with gradients scaled dynamically.

    The factor halves after an overflow and doubles after 2,000 clean steps (the method
    of Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740, section 3.2). Gradients
    are unscaled once per optimizer step, so sub-batches may be accumulated.
    """

    growth_interval = 2000
    smallest_scale = 1.0

    def __init__(self, dtype: torch.dtype, *, scale: float) -> None:
        super().__init__(dtype)
        self.scale = float(scale)
        self.clean_steps = 0

    @property
    @override
    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "clean_steps": self.clean_steps}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        if state.keys() != {"scale", "clean_steps"}:
            raise ValueError(
                f"the saved state {state} is of another precision than fp16: use the config that "
                "the training was started with"
            )
        self.scale, self.clean_steps = float(state["scale"]), int(state["clean_steps"])

    @override
    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            gradient = parameter.grad
            if isinstance(gradient, Tensor):
                gradient.mul_(1.0 / self.scale)

    @override
    def after_step(self, *, overflowed: bool) -> bool:
        if overflowed:
            self.clean_steps = 0
            if self.scale <= self.smallest_scale:
                return False  # nothing left to halve: the gradient itself is not finite
            self.scale = max(self.scale / 2, self.smallest_scale)
            return True
        self.clean_steps += 1
        if self.clean_steps >= self.growth_interval:
            self.clean_steps = 0
            self.scale *= 2
        return False


def build_precision(runtime: Runtime) -> FullPrecision:
    """The policy that a runtime asks for."""
    if runtime.precision == "fp32":
        return FullPrecision()
    dtype = AUTOCAST_TYPES[runtime.precision]
    if runtime.precision == "fp16":
        return ScaledHalfPrecision(dtype, scale=runtime.loss_scale)
    return HalfPrecision(dtype)
