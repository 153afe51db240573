"""What goes wrong in training: lost gradients, lost averages, NaN far from its cause.

Each test is a row of the comparison in the README; the twin on Thinc's own wrapper and
optimizer must fail.
"""

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import pytest
import torch
from spacy.training import Example
from thinc.api import Adam, Model, PyTorchGradScaler, PyTorchWrapper_v3, set_dropout_rate
from tiny_textcat import make_examples, make_nlp, predict, train
from torch import Tensor, nn
from wrappers import fails_on_thinc, module_of, ours, thincs

from spacy_torch.bridge.errors import NonFiniteError
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.torch_optimizers import build_adamw

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).numpy()
D_Y = numpy.ones((4, 2), dtype="f")

build_linear = partial(nn.Linear, 3, 2)


def update(
    model: Model[Any, Any], optimizer: Any, *, n_batches: int = 1, factor: float = 1.0
) -> None:
    for _ in range(n_batches):
        _, backprop = model.begin_update(X)
        backprop(D_Y * factor)
    model.finish_update(optimizer)


def state(model: Model[Any, Any]) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in module_of(model).state_dict().items()}


def thincs_fp16(build: Callable[[], nn.Module]) -> Model[Any, Any]:
    scaler = PyTorchGradScaler(enabled=True, init_scale=2.0**8)
    return PyTorchWrapper_v3(build(), grad_scaler=scaler)


@fails_on_thinc(
    "wrap",
    partial(ours, precision="fp16", loss_scale=2.0**8),
    thincs_fp16,
    reason="what was accumulated is unscaled again with every sub-batch",
)
def test_mixed_precision_counts_every_sub_batch(wrap, monkeypatch):
    # Thinc's scaler refuses tensors of a CPU; its arithmetic is the same everywhere.
    monkeypatch.setattr(
        PyTorchGradScaler, "_scale_tensor", lambda self, tensor, *_: tensor * self._scale
    )
    model = wrap(build_linear)
    seen: dict[str, numpy.ndarray] = {}

    def take_note(key: Any, weights: Any, gradient: Any, **_: Any) -> Any:
        seen[key[-1]] = gradient.copy()
        return weights, gradient

    update(model, take_note, n_batches=3)
    assert seen["bias"].tolist() == [12.0, 12.0]


@fails_on_thinc("wrap", ours, thincs, reason="the averages' keys are not those it looks for")
def test_averages_reach_the_module_for_evaluation(wrap):
    model = wrap(build_linear)
    optimizer = Adam(0.1, use_averages=True)
    update(model, optimizer)
    update(model, optimizer)
    trained = state(model)
    with model.use_params(optimizer.averages):
        assert not torch.equal(state(model)["weight"], trained["weight"])
    assert torch.equal(state(model)["weight"], trained["weight"])


@fails_on_thinc("wrap", ours, thincs, reason="a copy keeps the id that its state is found by")
def test_copy_of_a_model_trains_as_if_it_were_alone(wrap):
    model = wrap(build_linear)
    copied = model.copy()
    alone, together = Adam(0.1), Adam(0.1)
    lonely = model.copy()
    for _ in range(3):
        update(lonely, alone)
        update(model, together, factor=-0.1)
        update(copied, together)
    assert torch.allclose(state(copied)["weight"], state(lonely)["weight"])


@fails_on_thinc("wrap", ours, thincs, reason="the rate is set on Thinc's layers only")
def test_dropout_of_the_training_config_reaches_torch(wrap):
    model = wrap(lambda: nn.Dropout(0.1))
    set_dropout_rate(model, 0.9)
    Y, _ = model.begin_update(numpy.ones((100, 10), dtype="f"))
    assert (Y == 0).mean() > 0.75


def nan_losses(monkeypatch: pytest.MonkeyPatch, component: Any) -> None:
    monkeypatch.setattr(
        component, "compute_loss", lambda examples, logits: logits.sum() * numpy.nan
    )


def test_nan_loss_names_the_component_and_the_step(monkeypatch):
    nlp = make_nlp(name="topics")
    optimizer = train(nlp, steps=2)
    before = predict(nlp)
    nan_losses(monkeypatch, nlp.get_pipe("topics"))
    with pytest.raises(NonFiniteError, match="'topics', step 3: the loss is NaN or infinite"):
        nlp.update(make_examples(nlp), sgd=optimizer)
    assert predict(nlp) == before


def test_nan_gradient_names_the_component_and_the_step():
    nlp = make_nlp(name="topics")
    optimizer = train(nlp, steps=2)
    before = predict(nlp)
    module = get_shim(nlp.get_pipe("topics").logits_model).module
    module.output.bias.register_hook(lambda gradient: gradient * numpy.nan)
    message = "'topics', step 3: the gradient of output.bias is NaN or infinite"
    with pytest.raises(NonFiniteError, match=message):
        nlp.update(make_examples(nlp), sgd=optimizer)
    assert predict(nlp) == before


def test_nan_batch_can_be_skipped_and_is_counted(monkeypatch, caplog):
    nlp = make_nlp(name="topics", runtime={"non_finite": "skip"})
    optimizer = train(nlp, steps=2)
    before = predict(nlp)
    component = nlp.get_pipe("topics")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        nan_losses(patch, component)
        losses = nlp.update(make_examples(nlp), sgd=optimizer)
    assert losses["topics"] == 0.0
    assert "'topics', step 3: the loss is NaN" in caplog.text
    assert get_shim(component.logits_model).skipped_steps == 1
    assert predict(nlp) == before
    nlp.update(make_examples(nlp), sgd=optimizer)
    assert predict(nlp) != before


@fails_on_thinc("wrap", ours, thincs, reason="every weight becomes NaN, without a word")
def test_nan_batch_does_not_touch_the_weights(wrap):
    model = wrap(build_linear)
    before = state(model)
    _, backprop = model.begin_update(X)
    backprop(D_Y * numpy.nan)
    with contextlib.suppress(NonFiniteError):
        model.finish_update(Adam(0.1))
    assert torch.equal(state(model)["weight"], before["weight"])


def true_label(example: Example) -> str:
    return max(example.reference.cats, key=example.reference.cats.get)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_predicts_on_a_cpu(precision):
    nlp = make_nlp(runtime={"device": "cpu", "precision": precision})
    train(nlp, steps=60, sgd=Adam(0.02))
    for scores, example in zip(predict(nlp), make_examples(nlp), strict=True):
        assert max(scores, key=scores.get) == true_label(example)


@fails_on_thinc(
    "wrap",
    partial(ours, precision="bf16"),
    lambda build: PyTorchWrapper_v3(build(), mixed_precision=True),
    reason="gradient scaling is only supported on CUDA",
    raises=ValueError,
)
@pytest.mark.filterwarnings("ignore:.*CUDA is not available:UserWarning")
def test_mixed_precision_needs_no_gpu(wrap):
    model = wrap(build_linear)
    update(model, Adam(0.1))
    assert module_of(model).weight.isfinite().all()


@fails_on_thinc("build", build_adamw, Adam, reason="each tensor is clipped on its own")
def test_clipping_keeps_the_direction_of_the_whole_gradient(build):
    model = ours(build_linear)
    for parameter, value in zip(module_of(model).parameters(), (400.0, 4.0), strict=True):
        parameter.grad = torch.full_like(parameter, value)
    optimizer = build(1e-3, grad_clip=1.0)
    model.finish_update(optimizer)
    first_moments = {key[-1]: moment for key, moment in optimizer.mom1.items()}
    ratio = float(first_moments["weight"].max() / first_moments["bias"].max())
    assert ratio == pytest.approx(100.0)


@fails_on_thinc(
    "optimizer",
    partial(build_adamw, weight_decay=0.1),
    partial(Adam, L2=0.1),
    reason="everything decays",
)
def test_norm_and_bias_do_not_decay(optimizer):
    model = ours(partial(nn.LayerNorm, 3))
    for parameter in module_of(model).parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.finish_update(optimizer(0.1))
    assert module_of(model).weight.tolist() == [1.0, 1.0, 1.0]


def fail_with_zero_weights(model: Model[Any, Any]) -> None:
    assert module_of(model).weight.abs().sum() == 0
    raise ZeroDivisionError


@fails_on_thinc("wrap", ours, thincs, reason="averages are not taken out again")
def test_weights_come_back_when_evaluation_fails(wrap):
    model = wrap(build_linear)
    trained = state(model)
    averages = {
        ("torch", model.shims[0].id, "weight"): torch.zeros(2, 3),
        f"pytorch_{model.shims[0].id}_weight": numpy.zeros((2, 3), dtype="f"),
        f"pytorch_{model.shims[0].id}_bias": numpy.zeros(2, dtype="f"),
    }
    with pytest.raises(ZeroDivisionError), model.use_params(averages):
        fail_with_zero_weights(model)
    assert torch.equal(state(model)["weight"], trained["weight"])


def test_pipeline_gets_its_weights_back_when_evaluation_fails():
    nlp = make_nlp()
    optimizer = Adam(0.01, use_averages=True)
    train(nlp, steps=5, sgd=optimizer)
    before = predict(nlp)
    try:
        with nlp.use_params(optimizer.averages):
            assert predict(nlp) != before
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert predict(nlp) == before


def thincs_int_scale(build: Callable[[], nn.Module]) -> Model[Any, Any]:
    return PyTorchWrapper_v3(build(), grad_scaler=PyTorchGradScaler(enabled=True, init_scale=32768))


@fails_on_thinc(
    "wrap",
    partial(ours, precision="fp16", loss_scale=1024),
    thincs_int_scale,
    reason="a whole number makes an integer tensor",
    raises=RuntimeError,
)
def test_loss_scale_may_be_a_whole_number(wrap, monkeypatch):
    monkeypatch.setattr(
        PyTorchGradScaler, "_scale_tensor", lambda self, tensor, *_: tensor * self._scale
    )
    model = wrap(build_linear)
    before = state(model)
    update(model, Adam(0.1))
    assert not torch.equal(state(model)["weight"], before["weight"])


def test_label_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    optimizer = train(nlp)
    component = nlp.get_pipe("torch_textcat")
    module = get_shim(component.logits_model).module
    learned = module.output.weight.detach().clone()
    assert component.add_label("ugly") == 1
    module = get_shim(component.logits_model).module
    assert torch.equal(module.output.weight[:2], learned)
    assert predict(nlp)[0].keys() == {"good", "bad", "ugly"}
    examples = make_examples(nlp, ["good", "bad", "ugly"])
    losses = [nlp.update(examples, sgd=optimizer)["torch_textcat"] for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.xfail(strict=True, raises=ValueError, reason="E922: no more labels")
def test_label_added_after_training_keeps_what_was_learned_with_thinc():
    nlp = make_nlp("textcat", model={"@architectures": "tests.ThincBag.v1"})
    train(nlp, steps=2)
    nlp.get_pipe("textcat").add_label("ugly")
