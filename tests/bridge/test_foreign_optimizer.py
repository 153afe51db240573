"""Any callable `optimizer(key, weights, gradient)` moves torch parameters."""

import numpy
import pytest
import torch
from thinc.api import Adam
from thinc.optimizers import Optimizer
from torch import nn

from spacy_torch.bridge.averages import averaged_parameters
from spacy_torch.bridge.keys import parameter_key
from spacy_torch.bridge.step import step
from spacy_torch.bridge.torch_optimizers import build_adamw, build_sgd


def make_parameters(**settings):
    parameters = {"w": nn.Parameter(torch.ones(4, 3, **settings))}
    parameters["w"].grad = torch.full_like(parameters["w"], 0.5)
    return parameters


def test_a_function_that_moves_weights_later_in_place_works():
    """`Language.rehearse` takes notes first and steps when all components are done."""
    parameters, notes = make_parameters(), {}

    def take_notes(key, weights, gradient):
        notes[key] = (weights, gradient)
        return weights, gradient

    step(take_notes, parameters, shim_id=1)
    assert torch.equal(parameters["w"], torch.ones(4, 3))
    assert parameters["w"].grad is None
    for key, (weights, gradient) in notes.items():
        Adam(0.1)(key, weights, gradient)
    torch.testing.assert_close(parameters["w"].detach(), torch.full((4, 3), 0.9))


@pytest.mark.parametrize("make", [lambda: Adam(0.1), lambda: build_adamw(0.1)])
def test_rehearsing_between_updates_keeps_both_states_usable(make):
    optimizer, parameters = make(), make_parameters()
    for _ in range(3):
        before = parameters["w"].detach().clone()
        parameters["w"].grad = torch.full((4, 3), 0.5)
        step(optimizer, parameters, shim_id=1)
        between = parameters["w"].detach().clone()
        parameters["w"].grad = torch.full((4, 3), 0.5)
        step(lambda key, w, g: optimizer(key, w, g), parameters, shim_id=1)
        assert (before > between).all()
        assert (between > parameters["w"]).all()


def test_rehearsing_does_not_move_what_is_frozen():
    optimizer = build_sgd(0.1, groups=[{"pattern": "w", "freeze": True}])
    parameters = make_parameters()
    step(optimizer, parameters, shim_id=1)
    parameters["w"].grad = torch.ones(4, 3)
    step(lambda key, w, g: optimizer(key, w, g), parameters, shim_id=1)
    assert torch.equal(parameters["w"], torch.ones(4, 3))


def test_a_returned_array_is_written_back():
    parameters = make_parameters()
    step(lambda key, w, g: (w - g, g), parameters, shim_id=1)
    assert torch.equal(parameters["w"], torch.full((4, 3), 0.5))


def test_sparse_gradients_are_shown_dense():
    parameters = make_parameters()
    parameters["w"].grad = torch.sparse_coo_tensor(
        [[1, 1]], torch.ones(2, 3), (4, 3), check_invariants=True
    )
    step(lambda key, w, g: (w - g, g), parameters, shim_id=1)
    assert parameters["w"].tolist() == [[1.0] * 3, [-1.0] * 3, [1.0] * 3, [1.0] * 3]


def test_a_subclass_of_thincs_optimizer_does_its_own_arithmetic_and_averages():
    class Halving(Optimizer):
        def __call__(self, key, weights, gradient, *, lr_scale=1.0):
            weights *= 0.5
            self.averages[key] = numpy.full_like(weights, 7.0)
            return weights, gradient

    optimizer, parameters = Halving(0.1), make_parameters()
    step(optimizer, parameters, shim_id=1)
    assert torch.equal(parameters["w"], torch.full((4, 3), 0.5))
    assert list(optimizer.averages) == [parameter_key(1, "w")]
    averaged = averaged_parameters(optimizer.averages, parameters, shim_id=1)
    assert averaged["w"].tolist() == [[7.0] * 3] * 4


def test_half_precision_weights_are_copied_there_and_back_with_a_warning():
    parameters = make_parameters(dtype=torch.bfloat16)
    with pytest.warns(UserWarning, match="gets a copy of the weights of 'w' .*bfloat16 on cpu"):
        step(lambda key, w, g: (w - g, g), parameters, shim_id=1)
    assert parameters["w"].tolist() == [[0.5] * 3] * 4
    assert parameters["w"].dtype == torch.bfloat16


def test_parameters_without_gradient_are_not_shown():
    parameters, shown = make_parameters(), []
    parameters["still"] = nn.Parameter(torch.ones(2))
    step(lambda key, w, g: (shown.append(key), (w, g))[1], parameters, shim_id=1)
    assert [name for _, _, name in shown] == ["w"]
