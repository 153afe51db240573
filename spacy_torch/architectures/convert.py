"""Take over the weights of a trained Thinc model."""

from __future__ import annotations

from typing import Any

import torch
from thinc.api import Model
from torch import Tensor

from spacy_torch.nn.bag_of_ngrams import BagOfNgrams
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN


def copy_bow(model: Model[Any, Any], module: BagOfNgrams) -> None:
    """Copy the linear layer of a `spacy.TextCatBOW.v3`.

    Raises:
        ValueError: the model holds no such layer, or its sizes differ from the module's.
    """
    (linear,) = _nodes(model, "sparse_linear", count=1)
    n_labels, rows = linear.get_dim("nO"), linear.get_dim("length")
    weight = torch.as_tensor(linear.get_param("W")).view(n_labels, rows).t()
    _copy(weight, module.weight, name="weight")
    _copy(linear.get_param("b"), module.bias, name="bias")


def copy_hash_embed_cnn(model: Model[Any, Any], module: HashEmbedCNN) -> None:
    """Copy a `spacy.HashEmbedCNN.v2`, or a `Tok2Vec.v2` of the same parts.

    Such parts are `spacy.MultiHashEmbed.v2` and `spacy.MaxoutWindowEncoder.v2`.

    Raises:
        ValueError: the model has other layers, or its sizes differ from the module's.
    """
    embed, layers = module.embed, [module.embed.mix, *module.layers]
    tables = _nodes(model, "hashembed", count=len(embed.rows))
    table = torch.cat([torch.as_tensor(node.get_param("E")) for node in tables])
    statics = [embed.static] if embed.static is not None else []
    static_nodes = _nodes(model, "static_vectors", count=len(statics))
    maxouts = _nodes(model, "maxout", count=len(layers))
    norms = _nodes(model, "layernorm", count=len(layers))
    _copy(table, embed.table, name="embed.table")
    for static, node in zip(statics, static_nodes, strict=True):
        _copy(torch.as_tensor(node.get_param("W")).t(), static, name="embed.static")
    for index, (layer, maxout, norm) in enumerate(zip(layers, maxouts, norms, strict=True)):
        name = f"layers.{index - 1}" if index else "embed.mix"
        weight = torch.as_tensor(maxout.get_param("W"))  # width, piece, inputs
        bias = torch.as_tensor(maxout.get_param("b"))  # width, piece
        _copy(weight.permute(2, 1, 0).flatten(1), layer.weight, name=f"{name}.weight")
        _copy(bias.t().flatten(), layer.bias, name=f"{name}.bias")
        _copy(norm.get_param("G"), layer.norm.weight, name=f"{name}.norm.weight")
        _copy(norm.get_param("b"), layer.norm.bias, name=f"{name}.norm.bias")


def _nodes(model: Model[Any, Any], name: str, *, count: int) -> list[Model[Any, Any]]:
    """The nodes of that name in the order in which they run."""
    nodes = [node for node in model.walk(order="dfs_pre") if node.name == name]
    if len(nodes) != count:
        raise ValueError(
            f"the Thinc model '{model.name}' should have {count} layers named '{name}' to fill "
            f"the module, but has {len(nodes)}"
        )
    return nodes


def _copy(array: Any, parameter: Tensor, *, name: str) -> None:
    source = torch.as_tensor(array)
    if source.shape != parameter.shape:
        raise ValueError(
            f"{name}: the module expects the shape {tuple(parameter.shape)}, but the Thinc "
            f"model's weight makes {tuple(source.shape)}: build both with the same sizes"
        )
    with torch.no_grad():
        parameter.copy_(source)
