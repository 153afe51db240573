"""EfficientNet-Lite0, whose weights were trained on the million photographs of ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from spacy_torch.nn.pixels import scale_pixels

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# kernel, stride, expansion, channels, repeats: Tan and Le 2019, https://arxiv.org/abs/1905.11946,
# table 1; the Lite variant has ReLU6 and no squeeze-and-excitation.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM = 32
HEAD = 1280
# Of the batch normalization that is folded into the convolutions before it.
EPSILON = 1e-3
# The pixels of a cell of the map -> the layer it is taken from: the number of the block whose
# expansion it is (None: the head), and how many channels that has.
LEVELS: Mapping[int, tuple[int | None, int]] = {8: (5, 240), 16: (11, 672), 32: (None, HEAD)}


class EfficientNetLite(nn.Module):
    """The convolutional layers of EfficientNet-Lite0, up to a map of the pictures.

    The normalization of each layer is folded into the convolution before it, with the
    statistics of the pretraining: it does not depend on the other pictures of a batch.

    Args:
        stride: the pixels of a cell of the map: 8, 16 or 32. The layers behind are left out.
        fetch: gives the pretrained weights under their published names. Called once, by
            `load_pretrained`.
        freeze: learn nothing.
    """

    def __init__(
        self, *, stride: int, fetch: Callable[[], Mapping[str, Tensor]], freeze: bool
    ) -> None:
        super().__init__()
        if stride not in LEVELS:
            raise ValueError(f"stride must be one of {', '.join(map(str, LEVELS))}, got {stride}")
        last, _ = LEVELS[stride]
        self.fetch = fetch
        self.stem = SamePaddedConv(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        n_inputs = STEM
        for kernel, block_stride, expansion, channels, repeats in STAGES:
            for repeat in range(repeats):
                block = InvertedBottleneck(
                    n_inputs,
                    channels,
                    kernel,
                    stride=1 if repeat else block_stride,
                    expansion=expansion,
                    is_last=len(self.blocks) == last,
                )
                if last is None or len(self.blocks) <= last:
                    self.blocks.append(block)
                n_inputs = channels
        self.head = SamePaddedConv(n_inputs, HEAD, 1) if last is None else None
        self.requires_grad_(not freeze)

    def forward(
        self, pixels: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel row column"]:
        """Map pictures of any size to their features."""
        scaled = scale_pixels(pixels, mean=127.0, deviation=128.0)
        # With the channels of a pixel side by side a CPU takes two thirds of the time.
        x = F.relu6(self.stem(scaled.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = block(x)
        return x if self.head is None else F.relu6(self.head(x))

    @torch.no_grad()
    def load_pretrained(self) -> None:
        """Take over the pretrained weights."""
        weights = self.fetch()
        self.stem.fold(weights, "_conv_stem", "_bn0")
        for number, block in enumerate(self.blocks):
            prefix = f"_blocks.{number}."
            layers = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
            for name, conv, norm in (*layers, ("project", "_project_conv", "_bn2")):
                layer = getattr(block, name)
                if layer is not None:
                    layer.fold(weights, prefix + conv, prefix + norm)
        if self.head is not None:
            self.head.fold(weights, "_conv_head", "_bn1")


class SamePaddedConv(nn.Conv2d):
    """A convolution that is padded as TensorFlow does it: what is left over goes behind."""

    def __init__(
        self, n_inputs: int, n_outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            n_inputs, n_outputs, kernel, stride=stride, groups=groups
        )

    @override
    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        heights, widths = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:]
        )
        if heights == widths and heights % 2 == 0:
            return F.conv2d(
                input, self.weight, self.bias, stride, padding=heights // 2, groups=self.groups
            )
        padding = (widths // 2, widths - widths // 2, heights // 2, heights - heights // 2)
        return super().forward(F.pad(input, padding))

    def fold(self, weights: Mapping[str, Tensor], conv: str, norm: str) -> None:
        """Take over a convolution without bias and the batch normalization behind it."""
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
        self.weight.copy_(weights[f"{conv}.weight"] * scale.view(-1, 1, 1, 1))
        assert self.bias is not None
        self.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel, and narrow (Sandler et al. 2018).

    Args:
        is_last: only widen; what follows is left out.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        kernel: int,
        *,
        stride: int,
        expansion: int,
        is_last: bool,
    ) -> None:
        super().__init__()
        wide = n_inputs * expansion
        self.expand = SamePaddedConv(n_inputs, wide, 1) if expansion > 1 else None
        self.depthwise = (
            None if is_last else SamePaddedConv(wide, wide, kernel, stride=stride, groups=wide)
        )
        self.project = None if is_last else SamePaddedConv(wide, n_outputs, 1)
        self.is_residual = stride == 1 and n_inputs == n_outputs

    def forward(self, input: Tensor) -> Tensor:
        """Map a map to one of the same size, or of half its sides."""
        x = input if self.expand is None else F.relu6(self.expand(input))
        if self.depthwise is None or self.project is None:
            return x
        x = self.project(F.relu6(self.depthwise(x)))
        return x + input if self.is_residual else x
