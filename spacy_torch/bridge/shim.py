"""The shim: what Thinc and spaCy ask of a torch module, translated."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from thinc.api import Shim
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from spacy_torch.bridge.arrays import to_tensors
from spacy_torch.bridge.averages import averaged_parameters
from spacy_torch.bridge.buffers import BufferSnapshot
from spacy_torch.bridge.building import (
    ModuleBuilder,
    build_sized,
    copy_learned,
    copy_shared,
    grown_sizes,
    load_pretrained,
    named_parameters,
    named_tensors,
)
from spacy_torch.bridge.dropout import set_dropout_rate
from spacy_torch.bridge.errors import ModuleOutputError, NonFiniteError
from spacy_torch.bridge.foreign_step import ShownArray
from spacy_torch.bridge.forks import guard_forks
from spacy_torch.bridge.gradients import find_non_finite, gradient_norms
from spacy_torch.bridge.mode import ModeSwitch
from spacy_torch.bridge.postponed_step import PostponedStep
from spacy_torch.bridge.precision import FullPrecision, build_precision
from spacy_torch.bridge.runtime import MISC, Runtime
from spacy_torch.bridge.step import count_change, step
from spacy_torch.bridge.stored_module import build_stored
from spacy_torch.bridge.tree import leaves, map_leaves, pair_leaves
from spacy_torch.bridge.weights import (
    Layout,
    WeightsError,
    load_built,
    save_weights,
    weights_to_chunks,
)

logger = logging.getLogger(__name__)

Backprop = Callable[[Any], Any]

# What stands for the weights inside Thinc's message when they lie in a file beside it, in
# front of the digest of that file's contents.
APART = b"apart "
_weights_apart: ContextVar[bool] = ContextVar("weights_apart", default=False)


@contextlib.contextmanager
def weights_apart() -> Generator[None, None, None]:
    """While open, shims leave their weights out of the bytes they give to Thinc."""
    token = _weights_apart.set(True)
    try:
        yield
    finally:
        _weights_apart.reset(token)


class TorchShim(Shim):
    """One torch module behind a Thinc `Model`.

    The module is built late: by `initialize`, or from the sizes
    stored with the weights on loading. It rests in evaluation mode and is in training
    mode only during the forward and the backward pass of an update.

    Args:
        build: builds the module from keyword sizes (see `building.build_sized`). Must
            be picklable (a class, a module-level function, a partial of one) for
            `spawn` and pickle.
        name: the architecture's; stored with the weights.
        runtime: device, precision, reaction to NaN.
    """

    cfg: dict[str, Any]  # Thinc's, which says no more than dict

    def __init__(
        self, build: ModuleBuilder, *, name: str = "torch", runtime: Runtime | None = None
    ) -> None:
        super().__init__(None)  # pyright: ignore[reportUnknownMemberType]
        self.build = build
        self.name = name
        self.owner: str | None = None  # the component, once one has claimed the module
        self.runtime = runtime or Runtime()
        self._sizes: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self.is_apart = False  # loaded so far: the mark that the weights lie in a file
        self._digest: str | None = None  # of the weights in that file, or written to one last
        self.steps = 0
        self.skipped_steps = 0
        self._input_is_damaged: Tensor | None = None  # on the device, to be read once a step
        self._shown: list[ShownArray] = []  # through which somebody may move the weights
        self._buffers: BufferSnapshot | None = None  # as they were after the last step
        self._postponed = PostponedStep()
        self._device: torch.device | None = None
        self._process = os.getpid()  # that the module was put on its device by
        self._switch: ModeSwitch | None = None
        self._precision: FullPrecision = build_precision(self.runtime)
        guard_forks()

    # Building ----------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether the module exists yet."""
        return self._model is not None

    @property
    def sizes(self) -> dict[str, Any]:
        """What builds a module with the tensors of this one."""
        return {**self._sizes, **(grown_sizes(self._model) if self._model is not None else {})}

    @property
    def module(self) -> nn.Module:
        """The torch module.

        Raises:
            RuntimeError: it was not built yet.
        """
        if self._model is None:
            raise RuntimeError(
                f"The torch module of {self.name!r} does not exist yet: "
                "call initialize() or from_disk() first"
            )
        return self._model

    @property
    def _mode(self) -> ModeSwitch:
        if self._switch is None or self._switch.module is not self.module:
            self._switch = ModeSwitch(self.module)
        return self._switch

    @property
    def device(self) -> torch.device:
        """Where the module is, or will be built.

        Raises:
            RuntimeError: the module is on a GPU, and this is a process forked since.
        """
        self._check_process()
        if self._device is None:
            self._device = self.runtime.find_device()
            logger.info("%s: the module runs on %s", self.owner or self.name, self._device)
        return self._device

    def initialize(self, sizes: Mapping[str, Any]) -> None:
        """Build the module afresh, as Thinc's layers forget what they knew as well.

        Parts of it that have pretrained weights take them over (see `load_pretrained`).
        """
        module = build_sized(self.build, sizes)
        load_pretrained(module)
        self._take_module(module, sizes)

    def resize(self, sizes: Mapping[str, Any]) -> None:
        """Rebuild the module with other sizes, keeping what was learned."""
        if self.sizes != sizes:
            learned = self.module
            self._take_module(build_sized(self.build, sizes), sizes)
            copy_learned(learned, self.module)

    def _take_module(self, module: nn.Module, sizes: Mapping[str, Any]) -> None:
        self._model, self._sizes = module.to(self.device), dict(sizes)
        self._process = os.getpid()

    def set_dropout(self, rate: float) -> None:
        """Let spaCy's dropout rate reach the module."""
        set_dropout_rate(self.module, rate)

    # Running -----------------------------------------------------------------------

    def __call__(self, inputs: ArgsKwargs, is_train: bool) -> tuple[Any, Backprop]:
        """The module's output and a callback for its gradient, as a Thinc layer gives them."""
        if is_train:
            return self.begin_update(inputs)
        return self.predict(inputs), _no_backprop

    def predict(self, fwd_args: ArgsKwargs) -> Any:
        """The module's output in evaluation mode, without a graph.

        Changes no state, so threads may share the module. The mode is looked at, not
        set: flipping it back afterwards would hand a training module to other threads.
        """
        module = self.module
        if module.training:
            module.eval()
        self._finish_postponed()
        self._count_late_moves()
        with torch.no_grad(), self._precision.autocast(self.device):
            return module(*fwd_args.args, **fwd_args.kwargs)

    def begin_update(self, fwd_args: ArgsKwargs) -> tuple[Any, Backprop]:
        """The module's output in training mode, and a callback for the gradient.

        Inputs that require a gradient receive one. The callback takes the outputs'
        gradients in the structure of the outputs (None where there is none), adds to the
        gradients of the parameters, and returns the gradients of the inputs in the
        structure of the inputs.
        """
        self._finish_postponed()
        if self._buffers is None or self._buffers.module is not self.module:
            self._buffers = BufferSnapshot(self.module)
        # The backward pass must not be autocast: it follows the forward's types.
        with self._mode.training(), self._precision.autocast(self.device):
            outputs = self.module(*fwd_args.args, **fwd_args.kwargs)

        def backprop(d_outputs: Any) -> Any:
            d_inputs = self._backward(fwd_args, outputs, d_outputs)
            optimizer = self._postponed.end(backprop)
            if optimizer is not None:
                self.finish_update(optimizer)
            return d_inputs

        self._postponed.begin(backprop)
        return outputs, backprop

    def take_batch(self, batch: Any) -> Any:
        """What a featurizer gave, as tensors on the module's device and of its precision."""
        return to_tensors(batch, self.device, find_float_type=self._find_float_type)

    def check_gradient(self, outputs: Any) -> None:
        """Look whether an update would reach the module.

        Raises:
            ModuleOutputError: the module has something to learn, but the outputs of an
                update do not depend on it.
        """
        tensors = [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]
        if any(tensor.requires_grad for tensor in tensors) or not torch.is_grad_enabled():
            return
        # What a module gives for documents without tokens may hold no numbers at all.
        has_numbers = any(tensor.is_floating_point() and tensor.numel() for tensor in tensors)
        if has_numbers and any(parameter.requires_grad for parameter in self.module.parameters()):
            raise ModuleOutputError(
                f"{self.owner or self.name}: the module {type(self.module).__name__} has "
                "parameters to train, but what it returned carries no gradient to them: in "
                "forward(), avoid detach(), .data, .numpy(), torch.no_grad() and one-hot vectors "
                "made by argmax"
            )

    def finish_update(self, optimizer: Any) -> None:
        """Step the parameters that have a gradient, unless a gradient is not finite.

        Between a forward and its backward pass the step is postponed to the end of the
        latter: `nlp.update` finishes a shared tok2vec before its listeners have sent their
        gradients back, which must meet the weights that the forward pass used.

        Raises:
            NonFiniteError: a gradient is NaN or infinite and `non_finite` is "raise".
        """
        if self._postponed.take(optimizer):
            return
        parameters = named_parameters(self.module)
        has_gradient = any(parameter.grad is not None for parameter in parameters.values())
        if not has_gradient and self._input_is_damaged is None:
            return
        self._precision.unscale(parameters.values())
        norms = gradient_norms(parameters)
        damaged = find_non_finite(norms)
        if not damaged and self._input_is_damaged is not None and bool(self._input_is_damaged):
            damaged = ["its input"]
        self._input_is_damaged = None
        if damaged:
            self._undo_update()
        if self._precision.after_step(overflowed=bool(damaged)):
            return
        if damaged:
            names = ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else "")
            self.refuse_step(f"the gradient of {names}")
            return
        self.steps += 1
        self._count_late_moves()
        shown = step(optimizer, parameters, shim_id=self.id, norms=norms, owner=self.owner)
        self._shown += [array for array in shown if array() is not None]
        self._buffers = None

    def _finish_postponed(self) -> None:
        """Take a postponed step whose backward pass will not come.

        A component without gold in its batch keeps its callback and never calls it. What
        other batches left is then stepped before anyone uses the weights.
        """
        if self._postponed.is_waiting and any(
            parameter.grad is not None for parameter in self.module.parameters()
        ):
            self.finish_update(self._postponed.give_up())

    def drop_gradients(self) -> None:
        """Forget the gradients accumulated so far."""
        self._input_is_damaged = None
        for parameter in self.module.parameters():
            parameter.grad = None

    def take_gradient(self, tensor: Any) -> Tensor | None:
        """The gradient of an input, once; None for what has none.

        One that is not finite becomes zeros, so that no layer before the module is
        touched by a bad step, and `finish_update` treats it as it does the module's own.
        """
        if not isinstance(tensor, Tensor) or not tensor.is_leaf or tensor.grad is None:
            return None
        gradient, tensor.grad = tensor.grad, None
        if self._precision.scale != 1.0:
            gradient = gradient / self._precision.scale
        if gradient.device.type == "cpu" and math.isfinite(gradient.sum().item()):
            return gradient  # one pass settles it; on a GPU it would wait for the device
        damaged = ~gradient.isfinite().all()
        before = self._input_is_damaged
        self._input_is_damaged = damaged if before is None else before | damaged
        return torch.where(damaged, torch.zeros_like(gradient), gradient)

    def refuse_step(self, what: str) -> None:
        """Make no step, because something is NaN or infinite: raise or count it.

        Raises:
            NonFiniteError: `non_finite` is "raise".
        """
        self._undo_update()
        self.steps += 1
        message = (
            f"{self.owner or self.name!r}, step {self.steps}: {what} is NaN or infinite; the "
            "weights were not touched. Look for damaged input or too high a learning rate"
        )
        if self.runtime.non_finite == "raise":
            raise NonFiniteError(
                f'{message}, or set non_finite = "skip" in the [model.runtime] block ({MISC})'
            )
        self.skipped_steps += 1
        logger.warning("%s. Step skipped (%d so far).", message, self.skipped_steps)

    @contextlib.contextmanager
    def use_params(self, params: Mapping[Any, Any]) -> Generator[None, None, None]:
        """Swap other values in (averages, as a rule) for the time of the context."""
        self._finish_postponed()
        parameters = named_parameters(self._model) if self._model is not None else {}
        averages = averaged_parameters(params, parameters, shim_id=self.id)
        before = {name: parameters[name].detach().clone() for name in averages}
        try:
            _set_values(parameters, averages)
            yield
        finally:
            # Also when evaluation raised, and when spaCy dropped its half-run generator.
            _set_values(parameters, before)

    # Copying and moving --------------------------------------------------------------

    def copy(self) -> TorchShim:
        """A shim of its own: same weights, another id, so never shared optimizer state."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchShim:
        self._finish_postponed()
        copied = type(self)(self.build, name=self.name, runtime=self.runtime)
        memo[id(self)] = copied
        copied._sizes = dict(self.sizes)
        copied.info = copy.deepcopy(self.info, memo)
        copied.cfg = copy.deepcopy(self.cfg, memo)
        copied._device = self._device
        copied._model = copy.deepcopy(self._model, memo)
        if copied._model is not None:
            copied.drop_gradients()
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {
            "build": self.build,
            "name": self.name,
            "runtime": self.runtime,
            "info": self.info,
            "cfg": self.cfg,
            "weights": self._pack(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["build"], name=state["name"], runtime=state["runtime"])
        self.info, self.cfg = state["info"], state["cfg"]
        self.from_bytes(state["weights"])

    def to_device(self, device_type: str, device_id: int) -> None:
        """Follow Thinc to a GPU or to the CPU, unless the runtime names a device."""
        if self.runtime.device != "auto":
            return
        is_gpu = device_type == "gpu"
        self._device = torch.device("cuda", device_id) if is_gpu else torch.device("cpu")
        if self._model is not None:
            self._model.to(self.device)

    # Saving and loading ---------------------------------------------------------------

    def to_bytes(self) -> Any:
        """The weights as bytes, or as a list of bytes where they pass the size of one.

        Empty for a module not built yet. While `weights_apart` is open, a mark with the
        digest of what `to_disk` wrote last.
        """
        if _weights_apart.get() and self.is_built:
            return APART + (self._digest or "").encode()
        return self._pack()

    def from_bytes(self, data: Any) -> TorchShim:
        """Build the module from the sizes stored with the weights, and fill it.

        Raises:
            WeightsError: the bytes do not fit; the module is then as it was.
        """
        self.is_apart = isinstance(data, bytes) and data.startswith(APART)
        self._digest = None
        if self.is_apart:
            self._digest = data[len(APART) :].decode() or None
        elif data != b"":
            try:
                self._load([data] if isinstance(data, bytes) else data)
            except WeightsError as error:  # in a stock component nobody else names it
                raise error.within(f"the weights of {self.name!r}") from error
        return self

    def to_disk(self, path: str | Path) -> None:
        """Write the weights to a safetensors file, beside it first, then renamed."""
        self._finish_postponed()
        self._digest = save_weights(
            named_tensors(self.module), path, sizes=self.sizes, info=self.info, name=self.name
        )

    def from_disk(self, path: str | Path) -> TorchShim:
        """Build the module from the sizes in the file, and fill it from a memory map.

        Raises:
            WeightsError: the file does not fit; the module is then as it was.
        """
        self._load(path, digest=self._digest if self.is_apart else None)
        self.is_apart = False
        return self

    def _check_process(self) -> None:
        """Say what to do where CUDA would only say that it cannot be initialized."""
        is_on_gpu = self.is_built and self._device is not None and self._device.type == "cuda"
        if not is_on_gpu or self._process == os.getpid():
            return
        raise RuntimeError(
            f"{self.owner or self.name}: its module is on the GPU ({self._device}), which a forked "
            "process cannot use: call nlp.pipe with n_process=1, which is fastest on a GPU, or "
            'set device = "cpu" in the [model.runtime] block, or start the processes with '
            'multiprocessing.set_start_method("spawn")'
        )

    def _undo_update(self) -> None:
        self.drop_gradients()
        if self._buffers is not None and self._buffers.module is self.module:
            self._buffers.restore()
        self._buffers = None

    def _count_late_moves(self) -> None:
        """Notice weights moved by one who still holds, or held until now, an array of them."""
        if self._shown:
            self._shown = [array for array in self._shown if array() is not None]
            count_change(self.module.parameters())

    def _find_float_type(self) -> torch.dtype:
        types = {parameter.dtype for parameter in self.module.parameters()}
        floats = [dtype for dtype in types if dtype.is_floating_point]
        if torch.float64 in floats:
            return torch.float64
        return floats[0] if len(floats) == 1 else torch.get_default_dtype()

    def _pack(self) -> Any:
        if self._model is None:
            return b""
        self._finish_postponed()
        chunks = weights_to_chunks(
            named_tensors(self._model), sizes=self.sizes, info=self.info, name=self.name
        )
        return chunks[0] if len(chunks) == 1 else chunks

    def _load(self, source: Any, *, digest: str | None = None) -> None:
        module = self._model

        def find_tensors(layout: Layout) -> Mapping[str, Tensor]:
            nonlocal module
            if module is None or self.sizes != layout.header.sizes:
                module = build_stored(self.build, layout).to(self.device)
            return named_tensors(module)

        header = load_built(source, find_tensors, name=self.name, digest=digest)
        self._model, self._sizes, self.info = module, dict(header.sizes), dict(header.info)
        self._process = os.getpid()

    def _backward(self, inputs: ArgsKwargs, outputs: Any, d_outputs: Any) -> Any:
        scale = self._precision.scale
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
            with self._mode.training():
                torch.autograd.backward(tensors, gradients)
        return map_leaves(self.take_gradient, inputs)


def _no_backprop(d_outputs: Any) -> None:
    """Stand in for the callback of a prediction, which has no gradient."""


@torch.no_grad()
def _set_values(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, tensor in values.items():
        # In place and not a new .data: the version counter tells caches that values changed.
        # Averages may be from before a label was added.
        copy_shared(tensor, parameters[name])
