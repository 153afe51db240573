"""How a given box looks in a feature map, read as the windows that ought to find it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacy_torch.nn.box_ops import box_iou
from spacy_torch.nn.window_pyramid import CELLS, WindowLayer, read_layer, take_windows

if TYPE_CHECKING:
    from jaxtyping import Float

# The windows that are read of a box, as factors of its height and width and shifts by half
# cells down and to the right: the box is to be found from beside it, too.
VIEWS = (
    (1.0, 1.0, 0, 0),
    (1.0, 1.0, 0, 1),
    (1.0, 1.0, 0, -1),
    (1.0, 1.0, 1, 0),
    (1.0, 1.0, -1, 0),
    (1.2, 1.2, 0, 0),
    (0.85, 0.85, 0, 0),
    (1.1, 0.9, 0, 0),
    (0.9, 1.1, 0, 0),
)
# So much of the map on either side of a box is read, as a share of the window's sides: room
# for a shift, and for the nearest place on the grid.
MARGIN = 0.4


class BoxWindows(NamedTuple):
    """Some windows about each box.

    Attributes:
        rows: their vectors, of length 1.
        offsets: where the box's four edges are, in sides of the window from the window's.
    """

    rows: Float[Tensor, "box view feature"]
    offsets: Float[Tensor, "box view 4"]


def read_box_windows(
    feature_map: Float[Tensor, "width row column"],
    boxes: Float[Tensor, "box 4"],
    *,
    stride: float,
) -> BoxWindows:
    """Read each box as windows of about its own size, at about its place.

    What is read depends on the map and the box alone, not on the windows in use elsewhere.
    A view that does not fit into the map is replaced by one that does.

    Args:
        feature_map: of one picture.
        boxes: in pixels, within the picture.
        stride: pixels per point of the map.
    """
    n_features = len(feature_map) * CELLS[0] * CELLS[1]
    if not len(boxes):
        return BoxWindows(
            feature_map.new_zeros(0, len(VIEWS), n_features),
            feature_map.new_zeros(0, len(VIEWS), 4),
        )
    views = [_read_views(feature_map, box, stride=stride) for box in boxes]
    rows, places = (torch.stack(parts) for parts in zip(*views, strict=True))
    return BoxWindows(rows, edge_offsets(places, boxes[:, None].expand_as(places)))


def edge_offsets(
    windows: Float[Tensor, "... 4"], boxes: Float[Tensor, "... 4"]
) -> Float[Tensor, "... 4"]:
    """Where the edges of boxes are as seen from windows: what `move_edges` takes."""
    return (boxes - windows) / _sides(windows)


def move_edges(
    windows: Float[Tensor, "... 4"], offsets: Float[Tensor, "... 4"]
) -> Float[Tensor, "... 4"]:
    """Windows with each edge moved by so many of their sides."""
    return windows + offsets * _sides(windows)


def _sides(windows: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """The sides along which each edge moves."""
    sides = windows[..., 2:] - windows[..., :2]
    return torch.cat([sides, sides], dim=-1).clamp(min=1e-6)


def _read_views(
    feature_map: Float[Tensor, "width row column"], box: Float[Tensor, " 4"], *, stride: float
) -> tuple[Float[Tensor, "view feature"], Float[Tensor, "view 4"]]:
    """The vectors of the views of one box, and where they are."""
    layers: dict[tuple[float, float], WindowLayer | None] = {}
    for height, width, _, _ in VIEWS:
        if (height, width) not in layers:
            layers[height, width] = _read_around(feature_map, box, height, width, stride=stride)
    own = layers[1.0, 1.0]
    assert own is not None  # `_read_around` sees to that
    rows: list[Tensor] = []
    places: list[Tensor] = []
    for height, width, down, right in VIEWS:
        layer = layers[height, width] or own
        boxes = layer.boxes()
        n_rows, n_columns = layer.counts
        nearest = int(box_iou(boxes, box[None]).argmax())
        row = min(max(nearest // n_columns + down, 0), n_rows - 1)
        column = min(max(nearest % n_columns + right, 0), n_columns - 1)
        window = torch.tensor([row * n_columns + column], device=boxes.device)
        rows.append(take_windows(layer, window)[0])
        places.append(boxes[window[0]])
    return torch.stack(rows), torch.stack(places)


def _read_around(
    feature_map: Tensor, box: Tensor, height: float, width: float, *, stride: float
) -> WindowLayer | None:
    """The windows of one size near a box; some for its own size, whatever room there is."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    size = (y1 - y0) * height, (x1 - x0) * width
    rows, columns = feature_map.shape[-2:]
    top, bottom = _stretch(y0, y1, size[0], stride, rows)
    left, right = _stretch(x0, x1, size[1], stride, columns)
    part = feature_map[None, :, top:bottom, left:right]
    corner = top * stride, left * stride
    layer = read_layer(part, size, stride=stride, corner=corner)
    if layer is None and height == width == 1.0:
        extent = (bottom - top) * stride, (right - left) * stride
        fitting = min(size[0], extent[0]), min(size[1], extent[1])
        layer = read_layer(part, fitting, stride=stride, corner=corner)
    return layer


def _stretch(start: float, end: float, side: float, stride: float, n: int) -> tuple[int, int]:
    """The points of the map that a window of this side, and its margins, lie on."""
    middle, half = (start + end) / 2, side * (0.5 + MARGIN)
    first = min(max(0, math.floor((middle - half) / stride)), n - 1)
    return first, max(first + 1, min(n, math.ceil((middle + half) / stride)))
