"""All parts of a module change mode together, those that came later too."""

import numpy
import pytest
import torch
from torch import Tensor, nn

from spacy_torch.bridge.mode import ModeSwitch
from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.runtime import Runtime

X = numpy.ones((4, 50), dtype="f")


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(50, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.linear(x))


def build_with_scripted_part() -> nn.Module:
    return nn.Sequential(nn.Linear(50, 50), torch.jit.script(nn.Sequential(nn.Dropout(0.5))))


def make_model(build):
    model = wrap_module(build, runtime=Runtime(device="cpu"))
    model.initialize()
    return model


def train_once(model):
    Y, backprop = model.begin_update(X)
    backprop(numpy.ones_like(Y))
    return Y


def test_replaced_part_drops_in_training_and_only_there():
    model = make_model(Dropping)
    train_once(model)
    get_shim(model).module.drop = nn.Dropout(0.5)
    assert (train_once(model) == 0).any()
    assert (model.predict(X) == model.predict(X)).all()
    assert not get_shim(model).module.get_submodule("drop").training


class Growing(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.drop = nn.Dropout(0.5)
        return super().forward(x)


def test_part_made_during_an_update_rests_after_it():
    model = make_model(Growing)
    train_once(model)
    assert not get_shim(model).module.get_submodule("drop").training


# Newer versions of torch want everyone to use torch.export.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("build", [lambda: torch.jit.script(Dropping()), build_with_scripted_part])
def test_scripted_module_drops_in_training_and_only_there(build):
    model = make_model(build)
    assert (train_once(model) == 0).any()
    assert (model.predict(X) == model.predict(X)).all()


class Frozen(nn.Linear):
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def test_own_way_of_changing_the_mode_is_kept():
    of_its_class, of_its_own = Frozen(2, 2), nn.Linear(2, 2)
    of_its_own.train = lambda mode=True: of_its_own
    for part in (of_its_class, of_its_own):
        module = nn.Sequential(part.requires_grad_(False), nn.Dropout()).eval()
        part.training = False
        with ModeSwitch(module).training():
            assert [layer.training for layer in module] == [False, True]
        assert not module.training
