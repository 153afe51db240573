"""How spaCy's dropout rate reaches a torch module.

This is the one place that knows the rule. `[training.dropout]` (the `drop` of
`nlp.update`) is set on every dropout layer of the module before each update. A layer
with an attribute `pinned = True` keeps the rate it was built with; so does the whole
module when it has that attribute itself.
"""

from __future__ import annotations

from torch import nn

DROPOUT_LAYERS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def set_dropout_rate(module: nn.Module, rate: float) -> None:
    """Give every unpinned dropout layer the rate.

    Recurrent and attention layers, which drop inside, follow as well.
    """
    if getattr(module, "pinned", False):
        return
    for layer in module.modules():
        if getattr(layer, "pinned", False):
            continue
        if isinstance(layer, DROPOUT_LAYERS):
            layer.p = rate
        elif isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)):
            layer.dropout = rate
