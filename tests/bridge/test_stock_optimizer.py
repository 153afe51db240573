"""Stock optimizers move torch parameters by the same numbers as Thinc's own arithmetic."""

import itertools

import numpy
import pytest
import torch
from thinc.api import SGD, Adam, RAdam
from thinc.backends import NumpyOps
from thinc.optimizers import Optimizer
from torch import nn

from spacy_torch.bridge.averages import averaged_parameters, decay_since
from spacy_torch.bridge.gradients import gradient_norms
from spacy_torch.bridge.keys import parameter_key
from spacy_torch.bridge.step import step

SHAPES = {"vector": (5,), "matrix": (7, 3), "cube": (2, 3, 4), "tall": (200, 9)}
N_STEPS = 60


def make_adam(**settings):
    return Adam(0.002, **settings)


def make_adam_with_schedule(**settings):
    return Adam([0.0001 * i for i in range(40)], **settings)


def make_radam(**settings):
    return RAdam(0.002, **settings)


def make_sgd(**settings):
    return SGD(0.05, **settings)


def make_parameters():
    return {name: nn.Parameter(torch.randn(shape)) for name, shape in SHAPES.items()}


def assert_close(ours, thincs):
    # Thinc computes 1 - 0.999 in single precision, which makes its steps 6e-6 too long; torch
    # rounds the factor of weight decay, in the same direction at each step.
    rounding = N_STEPS * 2.0**-25
    numpy.testing.assert_allclose(ours.detach().numpy(), thincs, rtol=2 * rounding, atol=1e-6)


@pytest.mark.parametrize("make", [make_adam, make_adam_with_schedule, make_radam, make_sgd])
@pytest.mark.parametrize(
    ("decay", "penalty", "clip", "averages"),
    list(itertools.product([True, False], [0.0, 0.1], [0.0, 1.0], [True, False])),
)
def test_steps_are_those_of_thinc(make, decay, penalty, clip, averages):
    settings = {"L2_is_weight_decay": decay, "L2": penalty, "grad_clip": clip}
    ours, thincs = (make(use_averages=averages, **settings) for _ in range(2))
    parameters = make_parameters()
    arrays = {name: p.detach().numpy().copy() for name, p in parameters.items()}
    for i in range(N_STEPS):
        for name, parameter in parameters.items():
            if name == "cube" and i % 3 == 0:  # steps are counted for each tensor
                continue
            parameter.grad = torch.randn(parameter.shape) * 0.3
            arrays[name], _ = thincs((1, name), arrays[name], parameter.grad.numpy().copy())
        step(ours, parameters, shim_id=1)
        ours.step_schedules()
        thincs.step_schedules()
    averaged = averaged_parameters(ours.averages or {}, parameters, shim_id=1)
    assert set(averaged) == (set(SHAPES) if averages else set())
    for name, parameter in parameters.items():
        assert_close(parameter, arrays[name])
        if averages:
            assert_close(averaged[name], thincs.averages[1, name])


def test_norms_that_the_shim_has_already_are_used():
    one, other = make_parameters(), make_parameters()
    for name in one:
        other[name].data.copy_(one[name].data)
        one[name].grad = torch.randn(one[name].shape)
        other[name].grad = one[name].grad.clone()
    step(Adam(0.1), one, shim_id=1, norms=gradient_norms(one))
    step(Adam(0.1), other, shim_id=1)
    for name in one:
        assert torch.equal(one[name], other[name])


def test_gradients_are_dropped():
    parameters = make_parameters()
    parameters["vector"].grad = torch.ones(5)
    step(Adam(0.1), parameters, shim_id=1)
    assert all(parameter.grad is None for parameter in parameters.values())


def test_a_parameter_without_gradient_stays_and_costs_no_state():
    parameters, optimizer = make_parameters(), Adam(0.1)
    before = parameters["matrix"].detach().clone()
    parameters["vector"].grad = torch.ones(5)
    step(optimizer, parameters, shim_id=1)
    assert torch.equal(parameters["matrix"], before)
    assert set(optimizer.mom1) == {parameter_key(1, "vector")}


def test_a_parameter_of_no_rows_is_passed_over():
    parameters = {"empty": nn.Parameter(torch.zeros(0, 3))}
    parameters["empty"].grad = torch.zeros(0, 3)
    optimizer = Adam(0.1)
    step(optimizer, parameters, shim_id=1)
    assert not optimizer.nr_update


def test_a_transposed_parameter_is_moved():
    transposed = nn.Parameter(torch.randn(3, 5).t())
    straight = nn.Parameter(transposed.detach().contiguous())
    gradient = torch.randn(5, 3)
    for parameter in (transposed, straight):
        optimizer = Adam(0.1)
        for _ in range(3):
            parameter.grad = gradient.clone()
            step(optimizer, {"w": parameter}, shim_id=1)
    assert torch.equal(transposed, straight)


def test_two_shims_share_no_state():
    optimizer = Adam(0.1)
    first, second = make_parameters(), make_parameters()
    for _ in range(3):
        for shim_id, parameters in ((1, first), (2, second)):
            parameters["vector"].grad = torch.ones(5) * shim_id
            step(optimizer, parameters, shim_id=shim_id)
    assert optimizer.nr_update[parameter_key(1, "vector")] == 3
    assert optimizer.nr_update[parameter_key(2, "vector")] == 3
    moments = [optimizer.mom1[parameter_key(i, "vector")] for i in (1, 2)]
    assert torch.allclose(moments[0] * 2, moments[1] / moments[1].norm() * moments[0].norm() * 2)
    assert moments[0].data_ptr() != moments[1].data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_follow_an_fp32_copy(dtype):
    """Steps of 1e-5 are lost in bf16 one by one; a thousand of them are not."""
    parameter = nn.Parameter(torch.ones(4, dtype=dtype))
    reference = nn.Parameter(torch.ones(4))
    optimizer, plain = Adam(1e-4), Adam(1e-4)
    for _ in range(300):
        parameter.grad = torch.ones(4, dtype=dtype) * 0.25
        reference.grad = torch.ones(4) * 0.25
        step(optimizer, {"w": parameter}, shim_id=1)
        step(plain, {"w": reference}, shim_id=1)
    assert torch.equal(parameter, reference.to(dtype))
    assert optimizer.mom1[parameter_key(1, "w")].dtype == torch.float32
    averaged = averaged_parameters(optimizer.averages, {"w": parameter}, shim_id=1)["w"]
    assert averaged.dtype == dtype


def test_half_precision_weights_set_by_somebody_else_are_taken_over():
    parameter = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimizer = Adam(1e-4)
    for values in ([1.0, 1.0], [1.0, 5.0]):
        parameter.data.copy_(torch.tensor(values))
        parameter.grad = torch.ones_like(parameter)
        step(optimizer, {"w": parameter}, shim_id=1)
    assert parameter.tolist() == [1.0, 5.0]
    assert optimizer.last_seen[parameter_key(1, "w")].master.tolist() == pytest.approx(
        [1.0 - 2e-4, 5.0 - 1e-4], abs=2e-5
    )


def test_a_new_label_keeps_what_was_learned_of_the_others():
    optimizer, parameter = Adam(0.1), nn.Parameter(torch.ones(2, 3))
    parameter.grad = torch.full((2, 3), 0.1)
    step(optimizer, {"w": parameter}, shim_id=1)
    key = parameter_key(1, "w")
    old = {name: getattr(optimizer, name)[key].clone() for name in ("mom1", "mom2", "averages")}
    grown = nn.Parameter(torch.ones(3, 4))
    grown.grad = torch.zeros(3, 4)
    step(optimizer, {"w": grown}, shim_id=1)
    assert torch.equal(optimizer.mom1[key][:2, :3], old["mom1"] * numpy.float32(0.9))
    assert optimizer.mom1[key][2].tolist() == [0.0] * 4
    # new weights start as their own average: ones
    assert optimizer.averages[key][2].tolist() == pytest.approx([1.0] * 4)
    assert optimizer.nr_update[key] == 2


def test_a_parameter_that_shrank_starts_anew():
    optimizer = Adam(0.1)
    for n_labels in (3, 2):
        parameter = nn.Parameter(torch.ones(n_labels, 4))
        parameter.grad = torch.ones(n_labels, 4)
        step(optimizer, {"w": parameter}, shim_id=1)
    assert optimizer.nr_update[parameter_key(1, "w")] == 1
    assert optimizer.mom1[parameter_key(1, "w")].shape == (2, 4)


def test_averages_of_other_owners_are_passed_over():
    optimizer, parameters = Adam(0.1), {"w": nn.Parameter(torch.ones(2))}
    parameters["w"].grad = torch.ones(2)
    step(optimizer, parameters, shim_id=1)
    optimizer((1, "w"), numpy.ones(2, dtype="f"), numpy.ones(2, dtype="f"))
    assert set(averaged_parameters(optimizer.averages, parameters, shim_id=1)) == {"w"}
    assert averaged_parameters(optimizer.averages, parameters, shim_id=2) == {}


def test_moments_without_momentum_are_refused():
    optimizer = Optimizer(0.1, beta1=0.0, beta2=0.9)
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    with pytest.raises(ValueError, match=r"beta1 must be > 0 if beta2 is, got beta1 = 0.0"):
        step(optimizer, {"w": parameter}, shim_id=1)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 500), (7, 300), (89_980, 90_010)])
def test_decay_of_many_steps_is_the_product_of_the_decays(start, end):
    ops, average = NumpyOps(), numpy.ones(1, dtype="float64")
    for t in range(start + 1, end + 1):
        # Thinc's `Ops.update_averages` in double precision towards zero
        super(NumpyOps, ops).update_averages(average, numpy.zeros(1), t)
    closed = decay_since(torch.tensor([start]), end)
    assert closed.item() == pytest.approx(average.item(), rel=1e-9)
