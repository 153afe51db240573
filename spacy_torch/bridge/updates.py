"""The updates of one module: from a forward pass that trains to the step or its refusal."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from spacy_torch.bridge.buffers import BufferSnapshot
from spacy_torch.bridge.building import named_parameters
from spacy_torch.bridge.errors import NonFiniteError
from spacy_torch.bridge.foreign_step import ShownArray
from spacy_torch.bridge.gradients import find_non_finite, gradient_norms
from spacy_torch.bridge.mode import ModeSwitch
from spacy_torch.bridge.precision import FullPrecision, build_precision
from spacy_torch.bridge.runtime import MISC, Runtime
from spacy_torch.bridge.step import count_change, step
from spacy_torch.bridge.tree import pair_leaves

logger = logging.getLogger(__name__)


class Updates:
    """Runs a module in training mode, and moves its weights unless something is not finite.

    The module is an argument of every method, as another one may take its place between two
    updates: when it is resized, or loaded.

    Args:
        runtime: precision, and reaction to NaN.

    Attributes:
        precision: how the forward passes are computed.
        steps: how often the weights were moved or a step was refused.
        skipped: how many of these were refused.
        norms: of every gradient of the last step, before clipping, by parameter name.
        learn_rate: the optimizer's at the last step; None if it says nothing of it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.precision: FullPrecision = build_precision(runtime)
        self.steps = 0
        self.skipped = 0
        self.norms: Mapping[str, float] = {}
        self.learn_rate: float | None = None
        self._input_is_damaged: Tensor | None = None  # on the device, to be read once a step
        self._shown: list[ShownArray] = []  # through which somebody may move the weights
        self._buffers: BufferSnapshot | None = None  # as they were after the last step
        self._switch: ModeSwitch | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The counts and the policy's state, as JSON."""
        return {"steps": self.steps, "skipped": self.skipped, "precision": self.precision.state}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.steps, self.skipped = state["steps"], state["skipped"]
        self.precision.state = state["precision"]

    def forward(self, module: nn.Module, inputs: ArgsKwargs, *, device: torch.device) -> Any:
        """The module's output in training mode, with a graph."""
        if self._buffers is None or self._buffers.module is not module:
            self._buffers = BufferSnapshot(module)
        # The backward pass must not be autocast: it follows the forward's types.
        with self._mode_of(module).training(), self.precision.autocast(device):
            return module(*inputs.args, **inputs.kwargs)

    def draw(self, module: nn.Module, inputs: ArgsKwargs, *, device: torch.device) -> Any:
        """The module's output in training mode, as dropout leaves it, without a graph.

        What the forward pass did to buffers, such as running statistics, is undone.
        """
        before = BufferSnapshot(module)
        try:
            with (
                torch.no_grad(),
                self._mode_of(module).training(),
                self.precision.autocast(device),
            ):
                return module(*inputs.args, **inputs.kwargs)
        finally:
            before.restore()

    def backward(self, module: nn.Module, outputs: Any, d_outputs: Any) -> None:
        """Add to the gradients of the parameters, and of inputs that require one."""
        scale = self.precision.scale
        tensors: list[Tensor] = []
        gradients: list[Tensor] = []
        for output, gradient in pair_leaves(outputs, d_outputs):
            if gradient is None or not isinstance(output, Tensor) or not output.requires_grad:
                continue
            # Scaled before it is rounded to half precision, not after.
            gradient = gradient if scale == 1.0 else gradient * scale
            tensors.append(output)
            gradients.append(gradient.to(device=output.device, dtype=output.dtype))
        if tensors:
            # Checkpointed parts run forward once more, and must drop what they dropped.
            with self._mode_of(module).training():
                torch.autograd.backward(tensors, gradients)

    def take_gradient(self, tensor: Any) -> Tensor | None:
        """The gradient of an input, once; None for what has none.

        One that is not finite becomes zeros, so that no layer before the module is
        touched by a bad step, and `finish` treats it as it does the module's own.
        """
        if not isinstance(tensor, Tensor) or not tensor.is_leaf or tensor.grad is None:
            return None
        gradient, tensor.grad = tensor.grad, None
        if self.precision.scale != 1.0:
            gradient = gradient / self.precision.scale
        if gradient.device.type == "cpu" and math.isfinite(gradient.sum().item()):
            return gradient  # one pass settles it; on a GPU it would wait for the device
        damaged = ~gradient.isfinite().all()
        before = self._input_is_damaged
        self._input_is_damaged = damaged if before is None else before | damaged
        return torch.where(damaged, torch.zeros_like(gradient), gradient)

    @property
    def input_is_damaged(self) -> bool:
        """Whether the gradient of an input was not finite since the last step."""
        return self._input_is_damaged is not None and bool(self._input_is_damaged)

    def damage_input(self) -> None:
        """Treat the gradient of an input as one that was not finite."""
        self._input_is_damaged = torch.tensor(True)

    def finish(
        self, module: nn.Module, optimizer: Any, *, shim_id: int, owner: str | None, name: str
    ) -> None:
        """Step the parameters that have a gradient, unless a gradient is not finite.

        Args:
            owner: the component's name, for the optimizer's groups.
            name: whose module it is, for errors.

        Raises:
            NonFiniteError: a gradient is NaN or infinite and `non_finite` is "raise".
        """
        parameters = named_parameters(module)
        if not _have_gradient(parameters.values()) and self._input_is_damaged is None:
            return
        self.precision.unscale(parameters.values())
        norms = gradient_norms(parameters)
        damaged = find_non_finite(norms)
        if not damaged and self.input_is_damaged:
            damaged = ["its input"]
        self._input_is_damaged = None
        if damaged:
            self.undo(module)
        if self.precision.after_step(overflowed=bool(damaged)):
            return
        if damaged:
            names = ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else "")
            self.refuse(module, f"the gradient of {names}", name=name)
            return
        self.steps += 1
        self.norms, self.learn_rate = norms, getattr(optimizer, "learn_rate", None)
        self.notice_moves(module)
        shown = step(optimizer, parameters, shim_id=shim_id, norms=norms, owner=owner)
        self._shown += [array for array in shown if array() is not None]
        self._buffers = None

    def refuse(self, module: nn.Module, what: str, *, name: str) -> None:
        """Make no step, because something is NaN or infinite: raise or count it.

        Raises:
            NonFiniteError: `non_finite` is "raise".
        """
        self.undo(module)
        self.steps += 1
        message = (
            f"{name!r}, step {self.steps}: {what} is NaN or infinite; the weights were not "
            "touched. Look for damaged input or too high a learning rate"
        )
        if self.runtime.non_finite == "raise":
            raise NonFiniteError(
                f'{message}, or set non_finite = "skip" in the [model.runtime] block ({MISC})'
            )
        self.skipped += 1
        logger.warning("%s. Step skipped (%d so far).", message, self.skipped)

    def drop_gradients(self, module: nn.Module) -> None:
        """Forget the gradients accumulated so far."""
        self._input_is_damaged = None
        for parameter in module.parameters():
            parameter.grad = None

    def undo(self, module: nn.Module) -> None:
        """Forget what the forward and backward passes since the last step have left behind."""
        self.drop_gradients(module)
        if self._buffers is not None and self._buffers.module is module:
            self._buffers.restore()
        self._buffers = None

    def notice_moves(self, module: nn.Module) -> None:
        """Count weights as moved by one who still holds, or held until now, an array of them."""
        if self._shown:
            self._shown = [array for array in self._shown if array() is not None]
            count_change(module.parameters())

    def _mode_of(self, module: nn.Module) -> ModeSwitch:
        if self._switch is None or self._switch.module is not module:
            self._switch = ModeSwitch(module)
        return self._switch


def _have_gradient(parameters: Iterable[nn.Parameter]) -> bool:
    return any(parameter.grad is not None for parameter in parameters)
