"""Where and how precisely a module runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import torch
from thinc.api import CupyOps, get_current_ops

Precision = Literal["fp32", "bf16", "fp16"]
MISC = '@misc = "spacy-torch.Runtime.v1"'
NonFinite = Literal["raise", "skip"]


@dataclass(frozen=True)
class Runtime:
    """Device, precision and the reaction to a NaN, for one module.

    Attributes:
        device: "auto", or a torch device such as "cpu", "cuda:0" or "mps". "auto" takes
            the GPU that Thinc uses, else a GPU that torch sees, else the CPU. CuPy is
            not needed. A named device that this machine lacks becomes the CPU, with a
            warning, so that a pipeline trained on a GPU loads anywhere.
        precision: the type of the arithmetic; the weights stay float32. "fp16" scales
            the gradients against underflow.
        non_finite: what a NaN or an infinity in a loss or gradient does: "raise" stops
            with an error that names the component and the step, "skip" counts and logs
            the step and goes on. The weights are never touched by such a step.
        loss_scale: first factor of the gradients under "fp16".
        compile: let `torch.compile` make kernels for the module, at its first batches, which
            takes a minute or so. Worth a try for a module of your own and on a GPU; on a CPU
            the encoders that come with this package are no faster for it. The weights are
            saved as if it were not compiled, and a pipeline of ours compiles anew after loading.
            Needs a C++ compiler on a CPU.
        batch_tokens: how many tokens a component of ours hands to the module at once: a larger
            batch is run in parts, and their gradients are added up, which takes less memory and
            gives the same step. None: as many as the batch has. Where memory runs out,
            the batch is halved, too. Not behind a listener, which answers for a batch as a whole.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    non_finite: NonFinite = "raise"
    loss_scale: float = 65536.0
    compile: bool = False
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        mistakes: list[str] = []
        if self.device != "auto":
            try:
                torch.device(self.device)
            except (RuntimeError, TypeError):
                mistakes.append(
                    f'device must be "auto" or a torch device such as "cpu" or "cuda:0", '
                    f"got {self.device!r}"
                )
        if self.precision not in ("fp32", "bf16", "fp16"):
            mistakes.append(f'precision must be "fp32", "bf16" or "fp16", got {self.precision!r}')
        if self.non_finite not in ("raise", "skip"):
            mistakes.append(f'non_finite must be "raise" or "skip", got {self.non_finite!r}')
        if not self.loss_scale > 0:
            mistakes.append(f"loss_scale must be > 0, got {self.loss_scale!r}")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            mistakes.append(f"batch_tokens must be >= 1 or null, got {self.batch_tokens!r}")
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def find_device(self) -> torch.device:
        """The torch device that this setting means on this machine."""
        if self.device == "auto":
            ops = get_current_ops()
            if isinstance(ops, CupyOps):
                return torch.device("cuda", ops.device_id)
            if torch.cuda.is_available():
                return torch.device("cuda", torch.cuda.current_device())
            if torch.backends.mps.is_available():
                return torch.device("mps")
            return torch.device("cpu")
        device = torch.device(self.device)
        if not _is_present(device):
            warnings.warn(
                f"The device {self.device!r} is not on this machine: using the CPU. "
                'Set device = "auto" in the [model.runtime] block to choose by machine.',
                stacklevel=2,
            )
            return torch.device("cpu")
        return device


def build_runtime(
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    non_finite: NonFinite = "raise",
    loss_scale: float = 65536.0,
    compile: bool = False,
    batch_tokens: int | None = None,
) -> Runtime:
    """Where and how precisely a module runs, for the config."""
    return Runtime(
        device=device,
        precision=precision,
        non_finite=non_finite,
        # An int would make an integer tensor, and gradients would be cut to integers.
        loss_scale=float(loss_scale),
        compile=compile,
        batch_tokens=batch_tokens,
    )


def check_runtime(runtime: Runtime | Mapping[str, Any] | None) -> Runtime:
    """A runtime, also of one given as a plain block of settings.

    Raises:
        TypeError: it is neither, or names unknown settings.
        ValueError: a setting is not possible.
    """
    if runtime is None:
        return Runtime()
    if isinstance(runtime, Runtime):
        return runtime
    if not isinstance(cast("object", runtime), Mapping):
        raise TypeError(
            f"runtime must be a block with {MISC}, or a mapping of its settings, got {runtime!r}"
        )
    known = [field.name for field in fields(Runtime)]
    unknown = [repr(key) for key in runtime if key not in known]
    if unknown:
        raise TypeError(
            f"runtime has no setting {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return build_runtime(**runtime)


def _is_present(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return True
