"""Decompositions and sparse products of torch, whose own functions carry no types."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

_torch = cast("Any", torch)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix."""
    values, vectors = cast("tuple[Tensor, Tensor]", _torch.linalg.eigh(matrix))
    return values, vectors


def cholesky(matrix: Tensor) -> Tensor:
    """The lower triangular factor of a positive definite matrix."""
    return cast("Tensor", _torch.linalg.cholesky(matrix))


def solve(matrix: Tensor, columns: Tensor) -> Tensor:
    """What gives these columns when multiplied from the left by a square matrix."""
    return cast("Tensor", _torch.linalg.solve(matrix, columns))


def solve_lower(lower: Tensor, columns: Tensor) -> Tensor:
    """What gives these columns when multiplied from the left by a lower triangular matrix."""
    return cast("Tensor", _torch.linalg.solve_triangular(lower, columns, upper=False))


def orthonormal(matrix: Tensor) -> Tensor:
    """An orthonormal basis of the space that the columns span."""
    return cast("tuple[Tensor, Tensor]", _torch.linalg.qr(matrix))[0]


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The thin singular value decomposition: left vectors, values, transposed right vectors."""
    return cast("tuple[Tensor, Tensor, Tensor]", _torch.linalg.svd(matrix, full_matrices=False))


def unique(values: Tensor, *, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """The distinct values, sorted, and the place of each value among them."""
    return cast("tuple[Tensor, Tensor]", _torch.unique(values, dim=dim, return_inverse=True))


def sparse(places: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A sparse matrix; values at the same place are added up."""
    matrix = _torch.sparse_coo_tensor(places, values, shape, check_invariants=False)
    return cast("Tensor", matrix.coalesce())


def with_values(matrix: Tensor, values: Tensor) -> Tensor:
    """A sparse matrix with other values at the same places."""
    known = {"is_coalesced": True, "check_invariants": False}
    changed = _torch.sparse_coo_tensor(matrix.indices(), values, matrix.shape, **known)
    return cast("Tensor", changed)
