"""Windows of several sizes over a feature map: every place where an object may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# A window is read as so many cells, one below the other and side by side, and moves by half
# a cell.
CELLS = (4, 3)
HALF = 2
POINTS = (CELLS[0] * HALF, CELLS[1] * HALF)


class WindowLayer(NamedTuple):
    """All windows of one size over a batch of maps.

    Attributes:
        cells: roots of the map's averages over a cell, at every half cell.
        step: the pixels between neighbouring windows, downward and to the right.
        corner: the pixels above and to the left of the first window.
    """

    cells: Float[Tensor, "batch width row column"]
    step: tuple[float, float]
    corner: tuple[float, float] = (0.0, 0.0)

    @property
    def counts(self) -> tuple[int, int]:
        """How many windows there are, one below the other and side by side."""
        rows, columns = self.cells.shape[-2:]
        return rows + HALF - POINTS[0], columns + HALF - POINTS[1]

    def boxes(self) -> Float[Tensor, "window 4"]:
        """Where the windows are, in pixels, row by row."""
        places = [
            torch.arange(count, device=self.cells.device, dtype=self.cells.dtype) * step + corner
            for count, step, corner in zip(self.counts, self.step, self.corner, strict=True)
        ]
        y0, x0 = torch.meshgrid(*places, indexing="ij")
        height, width = (n * step for n, step in zip(POINTS, self.step, strict=True))
        x0, y0 = x0.flatten(), y0.flatten()
        return torch.stack([x0, y0, x0 + width, y0 + height], dim=1)


def read_layer(
    feature_map: Float[Tensor, "batch width row column"],
    size: tuple[float, float],
    *,
    stride: float,
    corner: tuple[float, float] = (0.0, 0.0),
) -> WindowLayer | None:
    """Lay all windows of about one size over a batch of feature maps.

    Instead of cutting windows out, the map is resized so that a cell of the window becomes
    two by two of its points; what is linear in a window is then a convolution away. The
    roots make what is there count more than how much there is of it.

    Args:
        feature_map: how much there is of each feature; less than 0 counts as 0.
        size: height and width of the windows in pixels. To fit the map's resized points, they
            become a little larger or smaller.
        stride: pixels per point of the map.
        corner: the pixels above and to the left of the map.

    Returns:
        None if the windows do not fit into the map.
    """
    sides = [n * stride for n in feature_map.shape[-2:]]
    n_rows, n_columns = (
        round(side * n / extent) for side, n, extent in zip(sides, POINTS, size, strict=True)
    )
    if n_rows < POINTS[0] or n_columns < POINTS[1]:
        return None
    points = F.interpolate(
        feature_map, (n_rows, n_columns), mode="bilinear", antialias=True, align_corners=False
    )
    # Sums of slices take half the time of F.avg_pool2d.
    pairs = points[:, :, :-1] + points[:, :, 1:]
    cells = (pairs[..., :-1] + pairs[..., 1:]) / HALF**2
    return WindowLayer(
        cells.clamp_(min=0).sqrt_(), (sides[0] / n_rows, sides[1] / n_columns), corner
    )


def read_layers(
    feature_map: Float[Tensor, "batch width row column"],
    sizes: Iterable[tuple[float, float]],
    *,
    stride: float,
) -> list[WindowLayer]:
    """Lay windows of several sizes over a batch of maps; what does not fit is left out."""
    layers = (read_layer(feature_map, size, stride=stride) for size in sizes)
    return [layer for layer in layers if layer is not None]


def score_windows(
    layer: WindowLayer,
    weight: Float[Tensor, "output feature"],
    bias: Float[Tensor, " output"],
) -> Float[Tensor, "batch window output"]:
    """What linear functions give for each window's vector, which has length 1."""
    kernel = weight.view(len(weight), -1, *CELLS)
    ones = layer.cells.new_ones(1, 1, *CELLS)
    lengths = F.conv2d(layer.cells.square().sum(1, keepdim=True), ones, dilation=HALF)
    scores = F.conv2d(layer.cells, kernel, dilation=HALF)
    scores = scores / lengths.clamp(min=1e-12).sqrt()
    return scores.flatten(2).transpose(1, 2) + bias


def take_windows(
    layer: WindowLayer, windows: Int[Tensor, " window"], *, item: int = 0
) -> Float[Tensor, "window feature"]:
    """The vectors, of length 1, of some windows of one map of the batch."""
    columns = layer.counts[1]
    down, right = (torch.arange(n, device=windows.device) * HALF for n in CELLS)
    y = (windows // columns)[:, None] + down  # window, cell
    x = (windows % columns)[:, None] + right
    vectors = layer.cells[item][:, y[:, :, None], x[:, None, :]]  # width, window, cell, cell
    return F.normalize(vectors.transpose(0, 1).flatten(1), dim=1)


def draw_windows(
    feature_map: Float[Tensor, "1 width row column"],
    sizes: Iterable[tuple[float, float]],
    *,
    stride: float,
    n_windows: int,
    seed: int,
) -> Float[Tensor, "window feature"]:
    """The vectors of windows of one map, of all sizes and places alike.

    Args:
        n_windows: about how many.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = read_layers(feature_map, sizes, stride=stride)
    counts = [layer.counts[0] * layer.counts[1] for layer in layers]
    rows: list[Tensor] = []
    for layer, count in zip(layers, counts, strict=True):
        n_of_layer = 1 + n_windows * count // sum(counts)
        windows = torch.randint(count, (n_of_layer,), generator=generator)
        rows.append(take_windows(layer, windows.to(feature_map.device)))
    return torch.cat(rows)
