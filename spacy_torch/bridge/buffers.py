"""A module's buffers as they were before a step that may be refused."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BufferSnapshot:
    """What the forward passes since the last step may have changed beside the parameters.

    Running statistics take in a batch before its loss is known. Kept are copies of all
    buffers of floating or complex type and of all with one element, such as counters;
    larger tables of integers are constants.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._values = {
            name: buffer.detach().clone()
            for name, buffer in module.named_buffers()
            if buffer.is_floating_point() or buffer.is_complex() or buffer.numel() == 1
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values back; a buffer that is gone or has another shape is passed over."""
        buffers: dict[str, Tensor] = dict(self.module.named_buffers())
        for name, value in self._values.items():
            buffer = buffers.get(name)
            if buffer is not None and buffer.shape == value.shape:
                buffer.copy_(value)
