"""Sums of a table's rows, with a gradient that is cheap on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacy_torch.nn.exporting import is_exporting

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def sum_rows(
    table: Float[Tensor, "row width"], index: Int[Tensor, "sum term"]
) -> Float[Tensor, "sum width"]:
    """Add up the rows that each line of `index` names: `table[index].sum(1)`."""
    if is_exporting():
        # ONNX has no bags: their sums would be a loop, which fails without any.
        rows = table.index_select(0, index.flatten())
        return rows.view(*index.shape, table.shape[1]).sum(1)
    needs_gradient = torch.is_grad_enabled() and table.requires_grad
    if needs_gradient and table.device.type == "cpu" and not torch.compiler.is_compiling():
        return cast("Tensor", _SumRows.apply(table, index))  # pyright: ignore[reportUnknownMemberType]
    return F.embedding_bag(index, table, mode="sum")


class _SumRows(torch.autograd.Function):
    """A third of the time of embedding_bag's own gradient, which sorts the index first."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.n_rows = len(table)
        return F.embedding_bag(index, table, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (grad,) = grad_outputs
        (index,) = ctx.saved_tensors
        d_table = grad.new_zeros(ctx.n_rows, grad.shape[1])
        for term in index.unbind(1):
            d_table.index_add_(0, term, grad)
        return d_table, None
