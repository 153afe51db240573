"""One module through updates: its mode, its gradients, its averages, its bad steps."""

import logging
from typing import Any

import numpy
import pytest
import torch
from thinc.api import SGD, Adam, Linear, Model, chain
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spacy_torch.bridge.errors import NonFiniteError
from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.runtime import Runtime

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).numpy()
D_Y = numpy.ones((4, 2), dtype="f")


def build_linear() -> nn.Module:
    return nn.Linear(3, 2)


def build_model(build: Any = build_linear, **runtime: Any) -> Model[Any, Any]:
    model = wrap_module(build, name="net", runtime=Runtime(device="cpu", **runtime))
    model.initialize()
    return model


def update(model: Model[Any, Any], optimizer: Any, *, d_Y: numpy.ndarray = D_Y) -> None:
    _, backprop = model.begin_update(X)
    backprop(d_Y)
    model.finish_update(optimizer)


def values(model: Model[Any, Any]) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in get_shim(model).module.state_dict().items()}


def assert_values(model: Model[Any, Any], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(values(model), expected, rtol=0, atol=0, equal_nan=False)


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError


def test_module_is_in_training_mode_only_inside_an_update():
    modes = []

    class Watching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(self.training)
            return super().forward(x)

    model = build_model(lambda: Watching(3, 2))
    _, backprop = model.begin_update(X)
    modes.append(get_shim(model).module.training)
    backprop(D_Y)
    model.predict(X)
    assert modes == [True, False, False]


class Checkpointed(nn.Module):
    """Keeps only its input for the backward pass, and then runs once more."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 200, bias=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self._run, x, use_reentrant=False)

    def _run(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear(x))


def test_checkpointed_part_drops_the_same_when_it_runs_again():
    model = build_model(Checkpointed)
    Y, backprop = model.begin_update(numpy.ones((1, 3), dtype="f"))
    backprop(numpy.ones_like(Y))
    gradient = get_shim(model).module.linear.weight.grad
    assert (gradient[:, 0] != 0).tolist() == (Y[0] != 0).tolist()
    assert 0 < (Y != 0).sum() < 200


def test_failing_update_leaves_the_module_in_evaluation_mode():
    model = build_model(Failing)
    with pytest.raises(ZeroDivisionError):
        model.begin_update(X)
    assert not get_shim(model).module.training


def test_module_left_in_training_mode_still_predicts_without_dropout():
    model = build_model(lambda: nn.Dropout(0.5))
    get_shim(model).module.train()
    assert (model.predict(X) == X).all()


def test_gradients_are_gone_after_a_step():
    model = build_model()
    update(model, SGD(0.1))
    assert all(parameter.grad is None for parameter in get_shim(model).module.parameters())


def test_frozen_parameters_stay():
    model = build_model()
    get_shim(model).module.weight.requires_grad_(False)
    before = values(model)
    update(model, SGD(0.1))
    assert torch.equal(values(model)["weight"], before["weight"])
    assert not torch.equal(values(model)["bias"], before["bias"])


def test_step_without_gradients_changes_nothing():
    model = build_model()
    before = values(model)
    model.finish_update(SGD(0.1))
    assert_values(model, before)


def test_averages_are_swapped_in_and_out():
    model = build_model(lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)))
    optimizer = Adam(0.1, use_averages=True)
    for _ in range(3):
        update(model, optimizer)
    trained = values(model)
    with model.use_params(optimizer.averages):
        averaged = values(model)
    assert_values(model, trained)
    assert not torch.equal(averaged["1.weight"], trained["1.weight"])
    assert torch.equal(averaged["0.running_mean"], trained["0.running_mean"])


def test_averages_are_swapped_out_when_evaluation_fails():
    model = build_model()
    optimizer = Adam(0.1, use_averages=True)
    update(model, optimizer)
    trained = values(model)
    with pytest.raises(ZeroDivisionError), model.use_params(optimizer.averages):
        raise ZeroDivisionError
    assert_values(model, trained)


def test_averages_of_other_modules_are_passed_over():
    model, other = build_model(), build_model()
    optimizer = Adam(0.1, use_averages=True)
    update(other, optimizer)
    before = values(model)
    with model.use_params(optimizer.averages):
        assert_values(model, before)


def build_table(n_labels: int = 2) -> nn.Module:
    return nn.EmbeddingBag(5, n_labels, sparse=True)


def test_averages_from_before_a_resize_still_serve():
    model = build_model(lambda n_labels=2: nn.Linear(3, n_labels))
    optimizer = Adam(0.1, use_averages=True)
    update(model, optimizer)
    update(model, optimizer)
    with model.use_params(optimizer.averages):
        averaged = values(model)["weight"]
    get_shim(model).resize({"n_labels": 3})
    trained = values(model)
    with model.use_params(optimizer.averages):
        assert torch.equal(values(model)["weight"][:2], averaged)
        assert torch.equal(values(model)["weight"][2], trained["weight"][2])
    assert_values(model, trained)


def test_averages_of_a_sparse_table_from_before_a_resize_still_serve():
    model = build_model(build_table)
    optimizer = Adam(0.1, use_averages=True)
    for _ in range(2):
        Y, backprop = model.begin_update(numpy.array([[0, 1], [1, 3]]))
        backprop(numpy.ones_like(Y))
        model.finish_update(optimizer)
    with model.use_params(optimizer.averages):
        averaged = values(model)["weight"]
    get_shim(model).resize({"n_labels": 3})
    trained = values(model)
    with model.use_params(optimizer.averages):
        assert torch.equal(values(model)["weight"][:, :2], averaged)
        assert torch.equal(values(model)["weight"][:, 2], trained["weight"][:, 2])
    assert_values(model, trained)


def test_use_params_before_the_module_exists_does_nothing():
    with wrap_module(build_linear).use_params({}):
        pass


def nan_gradient() -> numpy.ndarray:
    d_Y = D_Y.copy()
    d_Y[1, 1] = numpy.nan
    return d_Y


def test_nan_gradient_stops_and_names_module_step_and_parameter():
    model = build_model()
    optimizer = SGD(0.1)
    update(model, optimizer)
    before = values(model)
    message = (
        r"'net', step 2: the gradient of weight, bias is NaN or infinite; the weights were not "
        r'touched\. Look for .*set non_finite = "skip" in the \[model.runtime\] block '
        r'\(@misc = "spacy-torch\.Runtime\.v1"\)'
    )
    with pytest.raises(NonFiniteError, match=message):
        update(model, optimizer, d_Y=nan_gradient())
    assert_values(model, before)
    update(model, optimizer)
    assert get_shim(model).module.weight.isfinite().all()


def test_skipped_step_is_counted_logged_and_touches_nothing(caplog):
    model = build_model(non_finite="skip")
    optimizer = Adam(0.1)
    before = values(model)
    with caplog.at_level(logging.WARNING):
        update(model, optimizer, d_Y=nan_gradient())
    assert "'net', step 1" in caplog.text
    assert "Step skipped (1 so far)" in caplog.text
    assert get_shim(model).skipped_steps == 1
    assert_values(model, before)
    update(model, optimizer)
    assert get_shim(model).skipped_steps == 1
    assert get_shim(model).steps == 2


@pytest.mark.parametrize("non_finite", ["raise", "skip"])
def test_nan_gradient_never_reaches_the_layers_before(non_finite):
    thinc_layer = Linear(3, 3)
    model = chain(thinc_layer, build_model(non_finite=non_finite))
    model.initialize(X=X)
    optimizer = SGD(0.1)
    _, backprop = model.begin_update(X)
    backprop(nan_gradient())
    before = thinc_layer.get_param("W").copy()
    if non_finite == "raise":
        with pytest.raises(NonFiniteError):
            model.finish_update(optimizer)
    else:
        model.finish_update(optimizer)
    assert (thinc_layer.get_param("W") == before).all()
    update(model, optimizer)
    assert numpy.isfinite(thinc_layer.get_param("W")).all()


class Root(nn.Module):
    """Its gradient is infinite at zero, though no parameter of its own has one."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).abs().sqrt()


def test_infinite_gradient_of_the_input_is_a_bad_step_too():
    model = build_model(Root)
    _, backprop = model.begin_update(X)
    assert (backprop(numpy.ones_like(X)) == 0).all()
    with pytest.raises(NonFiniteError, match="the gradient of its input is NaN or infinite"):
        model.finish_update(SGD(0.1))


def test_long_list_of_damaged_parameters_is_cut():
    model = build_model(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    with pytest.raises(NonFiniteError, match=r"gradient of 0.weight, 0.bias, 1.weight, \.\.\. is"):
        update(model, SGD(0.1), d_Y=nan_gradient())


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_thinc_can_move_the_model_to_the_cpu(device):
    model = wrap_module(build_linear, runtime=Runtime(device=device))
    model.to_cpu()
    model.initialize()
    model.to_cpu()
    assert get_shim(model).module.weight.device.type == get_shim(model).device.type


@pytest.mark.parametrize(("device", "expected"), [("auto", "cpu"), ("meta", "meta")])
def test_thinc_can_move_the_model_off_an_automatic_device_only(device, expected, monkeypatch):
    monkeypatch.setattr(Runtime, "find_device", lambda runtime: torch.device("meta"))
    model = wrap_module(build_linear, runtime=Runtime(device=device))
    model.to_cpu()
    model.initialize()
    assert get_shim(model).module.weight.device.type == expected


def build_normed() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))


def train_forward(model: Model[Any, Any], X: numpy.ndarray) -> None:
    Y, backprop = model.begin_update(X)
    backprop(numpy.ones_like(Y))


@pytest.mark.parametrize("non_finite", ["raise", "skip"])
def test_refused_step_leaves_running_statistics_as_after_the_last_step(non_finite):
    model = build_model(build_normed, non_finite=non_finite)
    update(model, SGD(0.1))
    before = values(model)
    train_forward(model, X)
    train_forward(model, numpy.full_like(X, numpy.nan))
    if non_finite == "raise":
        with pytest.raises(NonFiniteError):
            model.finish_update(SGD(0.1))
    else:
        model.finish_update(SGD(0.1))
    assert_values(model, before)
    update(model, SGD(0.1))
    assert not torch.equal(values(model)["0.running_mean"], before["0.running_mean"])


def test_step_refused_for_its_loss_restores_running_statistics():
    model = build_model(build_normed, non_finite="skip")
    before = values(model)
    model.begin_update(numpy.full_like(X, numpy.nan))
    get_shim(model).refuse_step("the loss")
    assert_values(model, before)


class Shrinking(nn.Module):
    """Whose buffer has another shape after an update, so that its values cannot be put back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen[1:]
        return self.linear(x)


def test_buffer_of_another_shape_is_passed_over_when_a_step_is_refused():
    model = build_model(Shrinking, non_finite="skip")
    update(model, SGD(0.1), d_Y=nan_gradient())
    assert get_shim(model).module.seen.shape == (3,)
