"""The shim: what Thinc and spaCy ask of a torch module, translated."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from thinc.api import Shim
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from spacy_torch.bridge.arrays import float_type_of, to_tensors
from spacy_torch.bridge.averages import use_averages
from spacy_torch.bridge.building import (
    ModuleBuilder,
    build_sized,
    copy_learned,
    grown_sizes,
    load_pretrained,
    named_parameters,
    named_tensors,
)
from spacy_torch.bridge.dropout import set_dropout_rate
from spacy_torch.bridge.forks import check_process, guard_forks
from spacy_torch.bridge.gradients import check_connected, total_norm
from spacy_torch.bridge.postponed_step import PostponedStep
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.bridge.stored_module import build_stored
from spacy_torch.bridge.tree import map_leaves
from spacy_torch.bridge.updates import Updates
from spacy_torch.bridge.weights import (
    Layout,
    WeightsError,
    load_built,
    save_weights,
    weights_to_chunks,
)
from spacy_torch.bridge.weights_apart import are_weights_apart, is_mark, read_mark, write_mark

logger = logging.getLogger(__name__)

Backprop = Callable[[Any], Any]


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
        # A loss was not finite; whoever adds up the gradients of several processes resets it.
        self.loss_was_refused = False
        self._updates = Updates(self.runtime)
        self._postponed = PostponedStep()
        self._device: torch.device | None = None
        self._process = os.getpid()  # that the module was put on its device by
        guard_forks()

    @property
    def steps(self) -> int:
        """How many updates the module has had, those that were refused among them."""
        return self._updates.steps

    @property
    def skipped_steps(self) -> int:
        """How many of these were refused."""
        return self._updates.skipped

    @property
    def training_state(self) -> dict[str, Any]:
        """What an update depends on beside the weights, as JSON; a postponed step is taken first.

        Setting it to what another process got lets this one go on from there.
        """
        self._finish_postponed()
        return self._updates.state

    @training_state.setter
    def training_state(self, state: Mapping[str, Any]) -> None:
        self._finish_postponed()
        self._updates.state = dict(state)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of all gradients of the last step together, before clipping.

        None before the first step. A step that was refused has none.
        """
        return total_norm(self._updates.norms) if self._updates.norms else None

    @property
    def learn_rate(self) -> float | None:
        """The optimizer's learning rate at the last step, without the factors of groups."""
        return self._updates.learn_rate

    @property
    def _label(self) -> str:
        return self.owner or self.name

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
    def device(self) -> torch.device:
        """Where the module is, or will be built.

        Raises:
            RuntimeError: the module is on a GPU, and this is a process forked since.
        """
        if self.is_built:
            check_process(self._process, self._device, name=self._label)
        if self._device is None:
            self._device = self.runtime.find_device()
            logger.info("%s: the module runs on %s", self._label, self._device)
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
        self._model, self._sizes = self._place(module), dict(sizes)
        self._process = os.getpid()

    def _place(self, module: nn.Module) -> nn.Module:
        """The module on its device, compiled there if the runtime says so."""
        module = module.to(self.device)
        if self.runtime.compile:
            for part in module.modules():
                if hasattr(part, "before_compiling"):
                    cast("Callable[[], None]", part.before_compiling)()
            # In place, and so under the names of the module as it is.
            module.compile(dynamic=True)  # pyright: ignore[reportUnknownMemberType]
        return module

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
        self._updates.notice_moves(module)
        with torch.no_grad(), self._updates.precision.autocast(self.device):
            return module(*fwd_args.args, **fwd_args.kwargs)

    def draw(self, fwd_args: ArgsKwargs) -> Any:
        """The module's output as dropout makes it, another one each time; nothing is learned."""
        self._finish_postponed()
        return self._updates.draw(self.module, fwd_args, device=self.device)

    def begin_update(self, fwd_args: ArgsKwargs) -> tuple[Any, Backprop]:
        """The module's output in training mode, and a callback for the gradient.

        Inputs that require a gradient receive one. The callback takes the outputs'
        gradients in the structure of the outputs (None where there is none), adds to the
        gradients of the parameters, and returns the gradients of the inputs in the
        structure of the inputs.
        """
        self._finish_postponed()
        outputs = self._updates.forward(self.module, fwd_args, device=self.device)

        def backprop(d_outputs: Any) -> Any:
            self._updates.backward(self.module, outputs, d_outputs)
            d_inputs = map_leaves(self.take_gradient, fwd_args)
            optimizer = self._postponed.end(backprop)
            if optimizer is not None:
                self.finish_update(optimizer)
            return d_inputs

        self._postponed.begin(backprop)
        return outputs, backprop

    def take_batch(self, batch: Any) -> Any:
        """What a featurizer gave, as tensors on the module's device and of its precision."""
        return to_tensors(batch, self.device, find_float_type=partial(float_type_of, self.module))

    def check_gradient(self, outputs: Any) -> None:
        """Look whether an update would reach the module.

        Raises:
            ModuleOutputError: the module has something to learn, but the outputs of an
                update do not depend on it.
        """
        check_connected(outputs, self.module, name=self._label)

    def finish_update(self, optimizer: Any) -> None:
        """Step the parameters that have a gradient, unless a gradient is not finite.

        Between a forward and its backward pass the step is postponed to the end of the
        latter: `nlp.update` finishes a shared tok2vec before its listeners have sent their
        gradients back, which must meet the weights that the forward pass used.

        Raises:
            NonFiniteError: a gradient is NaN or infinite and `non_finite` is "raise".
        """
        if not self._postponed.take(optimizer):
            self._updates.finish(
                self.module, optimizer, shim_id=self.id, owner=self.owner, name=self._label
            )

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
        self._updates.drop_gradients(self.module)

    def take_gradient(self, tensor: Any) -> Tensor | None:
        """The gradient of an input, once; see `Updates.take_gradient`."""
        return self._updates.take_gradient(tensor)

    def refuse_step(self, what: str) -> None:
        """Make no step, because something is NaN or infinite: raise or count it.

        Raises:
            NonFiniteError: `non_finite` is "raise".
        """
        self.loss_was_refused = True
        self._updates.refuse(self.module, what, name=self._label)

    # Several processes -----------------------------------------------------------------

    @property
    def input_is_damaged(self) -> bool:
        """Whether the gradient of an input was not finite since the last step."""
        return self._updates.input_is_damaged

    def damage_input(self) -> None:
        """Refuse the next step as if the gradient of an input were not finite."""
        self._updates.damage_input()

    def undo_update(self) -> None:
        """Forget what the passes since the last step have left: gradients, running statistics."""
        self._updates.undo(self.module)

    def expect_no_backward(self) -> None:
        """Let the next step be made when it is asked for, whatever callbacks are still held."""
        self._postponed.give_up()

    @contextlib.contextmanager
    def use_params(self, params: Mapping[Any, Any]) -> Generator[None, None, None]:
        """Swap other values in (averages, as a rule) for the time of the context."""
        self._finish_postponed()
        parameters = named_parameters(self._model) if self._model is not None else {}
        with use_averages(params, parameters, shim_id=self.id):
            yield

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
            copied._place(copied._model)  # what was compiled is not copied
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
        if are_weights_apart() and self.is_built:
            return write_mark(self._digest)
        return self._pack()

    def from_bytes(self, data: Any) -> TorchShim:
        """Build the module from the sizes stored with the weights, and fill it.

        Raises:
            WeightsError: the bytes do not fit; the module is then as it was.
        """
        self.is_apart = is_mark(data)
        self._digest = read_mark(data) if self.is_apart else None
        if self.is_apart:
            return self
        if data != b"":
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
                module = self._place(build_stored(self.build, layout))
            return named_tensors(module)

        header = load_built(source, find_tensors, name=self.name, digest=digest)
        self._model, self._sizes, self.info = module, dict(header.sizes), dict(header.info)
        self._process = os.getpid()


def _no_backprop(d_outputs: Any) -> None:
    """Stand in for the callback of a prediction, which has no gradient."""
