"""Half precision computes alike, and sub-batches add up."""

from functools import partial
from typing import Any

import numpy
import pytest
import torch
from thinc.api import SGD, Linear, Model, chain
from torch import Tensor, nn

from spacy_torch.bridge.errors import NonFiniteError
from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.precision import (
    FullPrecision,
    HalfPrecision,
    ScaledHalfPrecision,
    build_precision,
)
from spacy_torch.bridge.runtime import Runtime

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).numpy()
D_Y = torch.randn(4, 2, generator=torch.Generator().manual_seed(1)).numpy()
PRECISIONS = ["fp32", "bf16", "fp16"]


BUILD = partial(nn.Linear, 3, 2)


def build_model(build: Any = BUILD, **runtime: Any) -> Model[Any, Any]:
    model = wrap_module(build, name="net", runtime=Runtime(device="cpu", **runtime))
    model.initialize()
    return model


def collect_gradients(model: Model[Any, Any], *, n_batches: int) -> dict[str, Tensor]:
    """The gradients of equal sub-batches, as the step sees them: unscaled."""
    shim = get_shim(model)
    for _ in range(n_batches):
        _, backprop = model.begin_update(X)
        backprop(D_Y)
    seen: dict[str, Tensor] = {}

    def take_note(key: Any, weights: Any, gradient: Any, **_: Any) -> Any:
        seen[key[-1]] = torch.tensor(gradient)
        return weights, gradient

    shim.finish_update(take_note)
    return seen


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n_batches", [2, 4])
def test_sub_batches_add_up_exactly(precision, n_batches):
    model = build_model(precision=precision, loss_scale=1024)
    once = collect_gradients(model, n_batches=1)
    summed = collect_gradients(model, n_batches=n_batches)
    assert once.keys() == {"weight", "bias"}
    for name in once:
        # A power of two times the same number is exact in any precision.
        assert torch.equal(summed[name], n_batches * once[name])


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 2e-2), ("fp16", 2e-3)])
def test_half_precision_gradients_are_near_those_of_full_precision(precision, tolerance):
    full, half = build_model(), build_model(precision=precision, loss_scale=1024)
    get_shim(half).module.load_state_dict(get_shim(full).module.state_dict())
    expected = collect_gradients(full, n_batches=1)
    found = collect_gradients(half, n_batches=1)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_stay_float32_and_outputs_are_float32_arrays(precision):
    model = build_model(precision=precision)
    Y, backprop = model.begin_update(X)
    backprop(D_Y)
    model.finish_update(SGD(0.1))
    assert Y.dtype == model.predict(X).dtype == numpy.float32
    assert get_shim(model).module.weight.dtype == torch.float32


def test_forward_pass_runs_in_the_type_that_was_asked_for():
    seen = []

    class Watching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(super().forward(x).dtype)
            return super().forward(x)

    for precision in PRECISIONS:
        model = build_model(partial(Watching, 3, 2), precision=precision)
        model.begin_update(X)
        model.predict(X)
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2 + [torch.float16] * 2


def test_gradient_too_small_for_fp16_survives():
    model = build_model(precision="fp16")
    tiny = numpy.full((4, 2), 1e-9, dtype="f")  # the smallest number of fp16 is 6e-8
    _, backprop = model.begin_update(X)
    dX = backprop(tiny)
    weight = get_shim(model).module.weight.detach()
    expected = (torch.from_numpy(tiny) @ weight).numpy()
    numpy.testing.assert_allclose(dX, expected, rtol=1e-2, atol=1e-12)
    assert torch.allclose(get_shim(model).module.bias.grad / 65536, torch.tensor(4e-9), rtol=1e-2)


def test_overflow_of_the_scale_is_no_error_and_reaches_no_layer():
    before = Linear(3, 3)
    model = chain(before, build_model(precision="fp16", loss_scale=2.0**30))
    model.initialize(X=X)
    shim = get_shim(model.layers[1])
    weight = shim.module.weight.detach().clone()
    for _ in range(30):
        _, backprop = model.begin_update(X)
        backprop(D_Y)
        model.finish_update(SGD(0.01))
    assert shim.skipped_steps == 0
    assert 0 < shim.steps < 30
    assert numpy.isfinite(before.get_param("W")).all()
    assert shim.module.weight.isfinite().all()
    assert not torch.equal(shim.module.weight, weight)


def test_nan_under_fp16_is_reported_once_the_scale_is_not_to_blame():
    model = build_model(precision="fp16", loss_scale=4.0)
    for scale in (4.0, 2.0, 1.0):
        assert get_shim(model).module.weight.isfinite().all(), scale
        _, backprop = model.begin_update(X)
        backprop(D_Y * numpy.nan)
        if scale > 1.0:
            model.finish_update(SGD(0.1))
    with pytest.raises(NonFiniteError, match="step 1: the gradient of weight, bias is NaN"):
        model.finish_update(SGD(0.1))


def test_scale_halves_after_an_overflow_and_doubles_after_clean_steps():
    policy = ScaledHalfPrecision(torch.float16, scale=8)
    policy.growth_interval = 3
    assert policy.after_step(overflowed=True)
    assert policy.scale == 4.0
    assert [policy.after_step(overflowed=False) for _ in range(3)] == [False, False, False]
    assert policy.scale == 8.0


def test_overflow_at_the_smallest_scale_is_not_the_scales_doing():
    policy = ScaledHalfPrecision(torch.float16, scale=1)
    assert not policy.after_step(overflowed=True)
    assert policy.scale == 1.0


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("fp32", FullPrecision), ("bf16", HalfPrecision), ("fp16", ScaledHalfPrecision)],
)
def test_runtime_names_the_policy(precision, policy):
    assert type(build_precision(Runtime(precision=precision))) is policy


def test_sparse_gradients_are_unscaled_too():
    model = wrap_module(
        partial(nn.EmbeddingBag, 5, 2, sparse=True, mode="sum"),
        featurize=torch.as_tensor,
        runtime=Runtime(device="cpu", precision="fp16", loss_scale=8.0),
    )
    model.initialize()
    before = get_shim(model).module.weight.detach().clone()
    Y, backprop = model.begin_update(numpy.array([[1, 2]]))
    backprop(numpy.ones_like(Y))
    model.finish_update(SGD(1.0, grad_clip=0.0))
    moved = before - get_shim(model).module.weight.detach()
    torch.testing.assert_close(moved[[1, 2]], torch.ones(2, 2))
    torch.testing.assert_close(moved[[0, 3, 4]], torch.zeros(3, 2))
