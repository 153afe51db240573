"""Matrices of 8-bit integers, for prediction on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int8

# The largest integer used; -128 is not, so that both signs reach as far.
LARGEST = 127
# Rows of values are rounded so many at a time: they stay in the cache meanwhile.
_VALUES_AT_ONCE = 262_144
# Rows are multiplied in multiples of so many.
_ROWS_TOGETHER = 16
# What a row of zeros is divided by.
_SMALLEST = 1e-30
# Products of integers that take so many times as long as those of floats are done without the
# instructions for them: those with take about as long or less, those without hundreds of times.
TOO_SLOW = 20


class Rounded(NamedTuple):
    """Rows of integers, and what each row is multiplied by to get its values back."""

    values: Int8[Tensor, "row width"]
    scale: Float[Tensor, "row 1"]


def round_rows(values: Float[Tensor, "row width"]) -> Rounded:
    """Round each row to 255 levels of its own, so that no row depends on those beside it."""
    rounded = torch.empty(values.shape, dtype=torch.int8, device=values.device)
    scale = values.new_empty(len(values), 1)
    rows = max(1, _VALUES_AT_ONCE // max(1, values.shape[1]))
    for part, integers, top in zip(
        torch.split(values, rows), torch.split(rounded, rows), torch.split(scale, rows), strict=True
    ):
        top.copy_(largest_magnitudes(part))
        integers.copy_(torch.mul(part, LARGEST / top).round_())
    return Rounded(rounded, scale.div_(LARGEST))


def largest_magnitudes(values: Float[Tensor, "row width"]) -> Float[Tensor, "row 1"]:
    """The largest magnitude in each row, and a little in a row of zeros."""
    if not values.shape[1]:
        return values.new_full((len(values), 1), _SMALLEST)
    # A quarter of the time of abs() and a maximum, which takes memory for its result.
    top = torch.maximum(values.amax(1, keepdim=True), values.amin(1, keepdim=True).neg_())
    return top.clamp_(min=_SMALLEST)


class Int8Matrix(nn.Module):
    """A matrix of integers with a scale for each output, and products of rows with it.

    A CPU with instructions for it (AVX512-VNNI, AVX-VNNI, AMX) multiplies the integers, by
    oneDNN's operators, which torch has since before 2.4. Whether it does so exactly, and not a
    thousand times slower, is tried out once: older instructions saturate, and without any
    oneDNN goes number by number. Elsewhere the same integers are multiplied as floats, with
    the same result and without any gain.

    Args:
        inputs: the size of the rows that come in.
        outputs: the size of those that come out.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs))
        self._packed: _Packed | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, weight: Float[Tensor, "outputs inputs"]) -> Int8Matrix:
        """Round a matrix, each output's weights by a scale of their own."""
        outputs, inputs = weight.shape
        matrix = cls(inputs, outputs).to(weight.device)
        rounded = round_rows(weight.detach().float().contiguous())
        matrix.weight, matrix.scale = rounded.values, rounded.scale.squeeze(1)
        return matrix

    def to_float(self) -> Float[Tensor, "outputs inputs"]:
        """The matrix that the integers stand for."""
        return self.weight.to(self.scale.dtype) * self.scale.unsqueeze(1)

    def forward(
        self, rows: Rounded, bias: Float[Tensor, " outputs"] | None = None
    ) -> Float[Tensor, "row outputs"]:
        """Multiply rows with the matrix.

        Raises:
            RuntimeError: in training mode.
        """
        if self.training:
            refuse_training()
        products = self.multiply(rows.values)
        if bias is None:
            return products.mul_(rows.scale)
        return torch.addcmul(bias, products, rows.scale, out=products)

    def multiply(self, rows: Int8[Tensor, "row inputs"]) -> Float[Tensor, "row outputs"]:
        """The products of the rows' integers with the matrix, to be scaled row by row."""
        if not len(rows):
            return self.scale.new_empty(0, len(self.scale))
        return self._find_packed().multiply(rows)

    def _find_packed(self) -> _Packed:
        # Loading writes into the tensors, and moving to a device replaces them.
        stamp = [(id(t), t._version) for t in (self.weight, self.scale)]
        if self._packed is None or self._packed.stamp != stamp:
            self._packed = _Packed(self.weight, self.scale, stamp=stamp)
        return self._packed

    def __getstate__(self) -> dict[str, Any]:
        # What oneDNN packs can be neither copied nor pickled.
        return {**super().__getstate__(), "_packed": None}  # pyright: ignore[reportUnknownMemberType]


class Int8Linear(nn.Module):
    """`nn.Linear` with a matrix of 8-bit integers; predicts, and does not train.

    Each row that comes in is rounded to 8 bits by a scale of its own (dynamic quantization),
    so the result of a row does not depend on the rest of the batch.
    """

    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.matrix = Int8Matrix(inputs, outputs)
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """The rounded layer."""
        bias = linear.bias.detach().float() if cast("Any", linear.bias) is not None else None
        layer = cls(0, 0)
        layer.matrix, layer.bias = Int8Matrix.of(linear.weight), bias
        return layer.train(linear.training)

    @property
    def in_features(self) -> int:
        """The size of the rows that come in, as `nn.Linear` calls it."""
        return self.matrix.weight.shape[1]

    @property
    def out_features(self) -> int:
        """The size of the rows that come out."""
        return self.matrix.weight.shape[0]

    @property
    def weight(self) -> Float[Tensor, "outputs inputs"]:
        """The weights as floats, for those who look at a linear layer's own."""
        return self.matrix.to_float()

    def forward(self, values: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Map each row.

        Raises:
            RuntimeError: in training mode.
        """
        outputs = self.matrix(_round_once(values), self.bias)
        return outputs.view(*values.shape[:-1], outputs.shape[1]).to(values.dtype)


def _round_once(values: Tensor) -> Rounded:
    """Round the rows of a tensor, unless another layer just did.

    What is rounded is kept with the tensor: attention maps the same rows three times.
    """
    version = None if values.is_inference() else values._version
    known = cast("tuple[int, Rounded] | None", getattr(values, "_int8_rows", None))
    if known is not None and known[0] == version:
        return known[1]
    rounded = round_rows(values.detach().reshape(-1, values.shape[-1]).float())
    if version is not None:  # one without a version does not tell when it is changed
        values._int8_rows = (version, rounded)  # pyright: ignore[reportAttributeAccessIssue]
    return rounded


class _Packed:
    """A matrix as it is multiplied fastest."""

    def __init__(self, weight: Tensor, scale: Tensor, *, stamp: object) -> None:
        self.stamp = stamp
        self.scale = scale
        self.zeros = torch.zeros(len(scale), dtype=torch.int64, device=scale.device)
        self.integers = _pack(weight, self.zeros)
        self.floats = (
            (weight.to(scale.dtype) * scale.unsqueeze(1)).t() if self.integers is None else None
        )

    def multiply(self, rows: Tensor) -> Tensor:
        if self.integers is None:
            return rows.to(self.scale.dtype) @ cast("Tensor", self.floats)
        return _multiply(rows, self.integers, scale=self.scale, zeros=self.zeros)


def _pack(weight: Tensor, zeros: Tensor) -> Tensor | None:
    """The matrix in oneDNN's own layout, or nothing where its products are not exact."""
    if weight.device.type != "cpu" or not weight.numel() or not _multiplies_fast():
        return None
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        # The largest sums there can be: what saturates shows.
        extremes = torch.full((2, weight.shape[1]), LARGEST, dtype=torch.int8)
        extremes[1].neg_()
        found = _multiply(extremes, packed, scale=torch.ones(len(weight)), zeros=zeros)
    except (AttributeError, RuntimeError):  # a torch without oneDNN, or an older operator
        return None
    expected = extremes.double() @ weight.double().t()
    return packed if torch.allclose(found.double(), expected, rtol=1e-6, atol=0.5) else None


@functools.cache
def _multiplies_fast() -> bool:
    """Whether this processor has instructions for products of integers, by how long they take."""
    rows, weight = torch.ones(256, 64, dtype=torch.int8), torch.ones(64, 64, dtype=torch.int8)
    scale, zeros = torch.ones(64), torch.zeros(64, dtype=torch.int64)
    as_floats, of_floats = rows.float(), weight.float()
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        seconds = _least_seconds(lambda: _multiply(rows, packed, scale=scale, zeros=zeros))
    except (AttributeError, RuntimeError):  # a torch without oneDNN, or an older operator
        return False
    return seconds < TOO_SLOW * _least_seconds(lambda: as_floats @ of_floats)


def _least_seconds(work: Callable[[], object], *, turns: int = 5) -> float:
    def take() -> float:
        start = perf_counter()
        work()
        return perf_counter() - start

    return min(take() for _ in range(turns))


def _multiply(rows: Tensor, packed: Tensor, *, scale: Tensor, zeros: Tensor) -> Tensor:
    n_rows = len(rows)
    # Few different numbers of rows, as oneDNN writes a program for each; the rest is not looked at.
    unsigned = torch.empty(
        -(-n_rows // _ROWS_TOGETHER) * _ROWS_TOGETHER, rows.shape[1], dtype=torch.uint8
    )
    # Without AMX, oneDNN has instructions for rows without signs only: 128 is added to each
    # number, by its highest bit, and told as their zero point.
    torch.bitwise_xor(rows.view(torch.uint8), 128, out=unsigned[:n_rows])
    # Scale and zero point of the rows and of the output; nothing is done to it afterwards.
    of_rows, of_output = (1.0, 128), (1.0, 0, torch.float32)
    nothing: tuple[str, list[float], str] = ("none", [], "")
    product = torch.ops.onednn.qlinear_pointwise(
        unsigned, *of_rows, packed, scale, zeros, None, *of_output, *nothing
    )
    return cast("Tensor", product)[:n_rows]


def refuse_training() -> NoReturn:
    """Say that what was exported does not learn."""
    raise RuntimeError(
        "an exported module only predicts and cannot be trained: train the pipeline that it was "
        "made from, and export that again"
    )
