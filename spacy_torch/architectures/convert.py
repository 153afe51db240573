"""Take over the weights of a trained Thinc model."""

from __future__ import annotations

from typing import Any

import torch
from thinc.api import Model
from torch import Tensor, nn

from spacy_torch.nn.bag_of_ngrams import BagOfNgrams


def copy_bow(model: Model[Any, Any], module: BagOfNgrams) -> None:
    """Copy the linear layer of a `spacy.TextCatBOW.v3`.

    Raises:
        ValueError: the model holds no such layer, or its sizes differ from the module's.
    """
    (linear,) = _nodes(model, "sparse_linear", count=1)
    n_labels, rows = linear.get_dim("nO"), linear.get_dim("length")
    weight = linear.get_param("W").reshape((n_labels, rows)).T
    _copy(weight, module.weight, name="weight")
    _copy(linear.get_param("b"), module.bias, name="bias")


def _nodes(model: Model[Any, Any], name: str, *, count: int) -> list[Model[Any, Any]]:
    """The nodes of that name in the order in which they run."""
    nodes = [node for node in model.walk(order="dfs_pre") if node.name == name]
    if len(nodes) != count:
        raise ValueError(
            f"the Thinc model '{model.name}' should have {count} layers named '{name}' to fill "
            f"the module, but has {len(nodes)}"
        )
    return nodes


def _copy(array: Any, parameter: nn.Parameter | Tensor, *, name: str) -> None:
    source = torch.as_tensor(array)
    if source.shape != parameter.shape:
        raise ValueError(
            f"{name}: the module expects the shape {tuple(parameter.shape)}, but the Thinc "
            f"model's weight makes {tuple(source.shape)}: build both with the same sizes"
        )
    with torch.no_grad():
        parameter.copy_(source)
