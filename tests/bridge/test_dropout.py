"""spaCy's dropout rate reaches the layers that drop, and no others."""

import torch
from thinc.api import set_dropout_rate as set_thinc_dropout_rate
from torch import nn

from spacy_torch.bridge.dropout import set_dropout_rate
from spacy_torch.bridge.model import get_shim, wrap_module


class Pinned(nn.Sequential):
    pinned = True


def build_dropping() -> nn.Module:
    return nn.Sequential(nn.Dropout(0.1))


def test_rate_reaches_every_kind_of_dropping_layer():
    module = nn.ModuleList(
        [nn.Dropout(0.1), nn.Dropout2d(0.1), nn.AlphaDropout(0.1), nn.LSTM(2, 2, num_layers=2),
         nn.TransformerEncoderLayer(4, 2, dropout=0.1)]
    )  # fmt: skip
    set_dropout_rate(module, 0.5)
    assert [layer.p for layer in module[:3]] == [0.5, 0.5, 0.5]
    assert module[3].dropout == 0.5
    assert module[4].self_attn.dropout == 0.5
    assert module[4].dropout1.p == 0.5


def test_pinned_layer_keeps_its_rate():
    module = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2))
    module[1].pinned = True
    set_dropout_rate(module, 0.5)
    assert [layer.p for layer in module] == [0.5, 0.2]


def test_pinned_module_keeps_all_its_rates():
    module = Pinned(nn.Dropout(0.1))
    set_dropout_rate(module, 0.5)
    assert module[0].p == 0.1


def test_model_drops_in_an_update_and_not_in_a_prediction():
    model = wrap_module(build_dropping)
    model.initialize()
    X = torch.ones(100, 10).numpy()
    set_thinc_dropout_rate(model, 0.9)
    Y, _ = model.begin_update(X)
    assert 0.02 < (Y != 0).mean() < 0.25
    assert (model.predict(X) == X).all()


def test_module_keeps_its_own_rate_until_spacy_sets_one():
    model = wrap_module(build_dropping)
    model.initialize()
    model.begin_update(torch.ones(2, 2).numpy())
    assert get_shim(model).module[0].p == 0.1
