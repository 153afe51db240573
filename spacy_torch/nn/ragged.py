"""Sequences of different lengths, kept without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacy_torch.nn.exporting import is_exporting

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Ragged(NamedTuple):
    """A batch of sequences as one row per token, and the length of each sequence.

    The reductions give one row per sequence; an empty sequence gives zeros, and an
    empty batch gives no rows.
    """

    values: Float[Tensor, "token width"]
    lengths: Int[Tensor, " batch"]

    def offsets(self) -> Int[Tensor, " batch"]:
        """The row at which each sequence starts."""
        return self.lengths.cumsum(0) - self.lengths

    def sequence_ids(self) -> Int[Tensor, " token"]:
        """For each row, the number of the sequence it belongs to."""
        if is_exporting():
            # ONNX repeats no rows so many times each; in one step, each row is compared with
            # the end of each sequence.
            rows = torch.arange(len(self.values), device=self.lengths.device)
            return (self.lengths.cumsum(0) <= rows.unsqueeze(1)).sum(1)
        ids = torch.arange(len(self.lengths), device=self.lengths.device)
        # Without output_size the GPU would have to wait for the sum of the lengths.
        return ids.repeat_interleave(self.lengths, output_size=len(self.values))

    def split(self) -> list[Tensor]:
        """The rows of each sequence as a view."""
        sizes = cast("list[int]", self.lengths.tolist())  # pyright: ignore[reportUnknownMemberType]
        return list(torch.split(self.values, sizes))

    def to_padded(self) -> tuple[Float[Tensor, "batch token width"], Bool[Tensor, "batch token"]]:
        """The sequences with zeros after their ends, and which rows are real."""
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        steps = torch.arange(longest, device=self.lengths.device)
        mask = steps < self.lengths.unsqueeze(1)
        padded = self.values.new_zeros(*mask.shape, *self.values.shape[1:])
        return padded.masked_scatter(mask.unsqueeze(-1), self.values), mask

    @staticmethod
    def from_padded(
        padded: Float[Tensor, "batch token width"], mask: Bool[Tensor, "batch token"]
    ) -> Ragged:
        """Keep the rows for which the mask is true."""
        return Ragged(padded[mask], mask.sum(1))

    def sum(self) -> Float[Tensor, "batch width"]:
        """Add up the rows of each sequence."""
        zeros = self.values.new_zeros(len(self.lengths), *self.values.shape[1:])
        return zeros.index_add(0, self.sequence_ids(), self.values)

    def mean(self) -> Float[Tensor, "batch width"]:
        """Average the rows of each sequence."""
        return self.sum() / self.lengths.clamp(min=1).unsqueeze(1).to(self.values.dtype)

    def max(self) -> Float[Tensor, "batch width"]:
        """Take the largest value of each column in each sequence.

        The gradient is shared between equal largest values.
        """
        if is_exporting():
            # ONNX has no segments.
            ids = self.sequence_ids().unsqueeze(1).expand_as(self.values)
            lowest = self.values.new_full((len(self.lengths), self.values.shape[1]), -torch.inf)
            largest = lowest.scatter_reduce(0, ids, self.values, "amax")
        elif torch.is_grad_enabled() and self.values.requires_grad:
            arguments = self.values, self.lengths, self.sequence_ids()
            largest = cast("Tensor", _Max.apply(*arguments))  # pyright: ignore[reportUnknownMemberType]
        else:
            largest = _largest(self.values, self.lengths)
        return largest.masked_fill(self.lengths.unsqueeze(1) == 0, 0.0)

    def first(self) -> Float[Tensor, "batch width"]:
        """Take the first row of each sequence."""
        return self._rows(self.offsets())

    def last(self) -> Float[Tensor, "batch width"]:
        """Take the last row of each sequence."""
        return self._rows(self.lengths.cumsum(0) - 1)

    def softmax(self) -> Ragged:
        """Scale the values of each column to sum to one within each sequence."""
        ids = self.sequence_ids()
        largest = Ragged(self.values.detach(), self.lengths).max()
        exps = (self.values - largest.index_select(0, ids)).exp()
        # Not sums[ids]: its gradient takes many times longer on a CPU.
        sums = Ragged(exps, self.lengths).sum().index_select(0, ids)
        return Ragged(exps / sums, self.lengths)

    def _rows(self, index: Int[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        if not len(self.values):
            # A sum over no rows: zeros that keep the graph connected.
            return self.values.sum(0).expand(len(self.lengths), -1)
        rows = self.values[index.clamp(0, len(self.values) - 1)]
        return rows.masked_fill(self.lengths.unsqueeze(1) == 0, 0.0)


class _Max(torch.autograd.Function):
    """The gradient of `segment_reduce` shares out positive gradients between equal values only.

    Of a negative one each of them gets the whole (torch 2.4 to 2.13).
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, lengths: Tensor, ids: Tensor) -> Tensor:
        largest = _largest(values, lengths)
        ctx.save_for_backward(values, largest, ids)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        (grad,) = grad_outputs
        values, largest, ids = ctx.saved_tensors
        wins = (values == largest.index_select(0, ids)).to(grad.dtype)
        counts = torch.zeros_like(grad).index_add_(0, ids, wins)
        shares = (grad / counts.clamp_(min=1)).index_select(0, ids)
        return wins.mul_(shares), None, None


def _largest(values: Tensor, lengths: Tensor) -> Tensor:
    return torch.segment_reduce(values, "max", lengths=lengths, unsafe=True)
