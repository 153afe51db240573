"""Our own optimizers: torch's arithmetic, global clipping, groups, averages."""

import itertools
from functools import partial

import numpy
import pytest
import torch
from thinc.api import Config, registry
from thinc.optimizers import Optimizer
from thinc.schedules import warmup_linear
from torch import nn

from spacy_torch.bridge.averages import averaged_parameters
from spacy_torch.bridge.keys import parameter_key
from spacy_torch.bridge.step import step
from spacy_torch.bridge.torch_optimizer import GRACE
from spacy_torch.bridge.torch_optimizers import build_adam, build_adamw, build_radam, build_sgd


def build_module():
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def train(optimizer, module, *, n_steps=50, seed=3, shim_id=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        module(torch.randn(8, 6, generator=generator)).square().mean().backward()
        step(optimizer, dict(module.named_parameters()), shim_id=shim_id)
        optimizer.step_schedules()


def train_in_torch(optimizer, module, *, clip, n_steps=50, seed=3):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        module(torch.randn(8, 6, generator=generator)).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()


def make_torch_groups(module, decay):
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize(
    ("build", "reference", "decay"),
    [
        (build_adamw, torch.optim.AdamW, 0.1),
        (build_adam, torch.optim.Adam, 0.1),
        (build_radam, partial(torch.optim.RAdam, decoupled_weight_decay=True), 0.1),
        (build_sgd, torch.optim.SGD, 0.0),  # torch has no SGD with decoupled decay
    ],
)
def test_weights_are_those_of_torch(build, reference, decay, clip):
    ours, theirs = build_module(), build_module()
    theirs.load_state_dict(ours.state_dict())
    train(build(0.01, weight_decay=decay, grad_clip=clip), ours)
    train_in_torch(reference(make_torch_groups(theirs, decay), lr=0.01), theirs, clip=clip)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_is_that_of_torch(nesterov):
    ours, theirs = build_module(), build_module()
    theirs.load_state_dict(ours.state_dict())
    train(build_sgd(0.01, momentum=0.9, nesterov=nesterov, grad_clip=0.0), ours)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, nesterov=nesterov)
    train_in_torch(reference, theirs, clip=0.0)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_clipping_keeps_the_direction_of_the_step():
    """Clipped one by one, gradients of 400 and 4 would both come out as 1."""
    parameters = {"big": nn.Parameter(torch.zeros(1)), "small": nn.Parameter(torch.zeros(1))}
    parameters["big"].grad, parameters["small"].grad = torch.tensor([400.0]), torch.tensor([4.0])
    step(build_sgd(1.0, grad_clip=1.0), parameters, shim_id=1)
    assert parameters["big"].item() == pytest.approx(-1.0, abs=1e-4)
    assert parameters["small"].item() == pytest.approx(-0.01, abs=1e-6)


def test_a_norm_with_zero_gradient_does_not_decay():
    module = nn.ModuleDict({"norm": nn.LayerNorm(4), "linear": nn.Linear(4, 4)})
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    step(build_adamw(0.1, weight_decay=0.1), dict(module.named_parameters()), shim_id=1)
    for name, parameter in module.named_parameters():
        factor = 0.99 if name == "linear.weight" else 1.0
        torch.testing.assert_close(parameter, before[name] * factor)


def test_a_bias_of_two_dimensions_does_not_decay_unless_a_group_says_so():
    for groups, factor in (((), 1.0), ([{"pattern": "bias", "weight_decay": 0.5}], 0.95)):
        parameters = {"maxout.bias": nn.Parameter(torch.ones(4, 3))}
        parameters["maxout.bias"].grad = torch.zeros(4, 3)
        step(build_adamw(0.1, weight_decay=0.1, groups=groups), parameters, shim_id=1)
        torch.testing.assert_close(parameters["maxout.bias"], torch.full((4, 3), factor))


def moved_by(optimizer, names, *, n_steps=1):
    """How far each parameter goes in steps with a gradient of one."""
    parameters = {name: nn.Parameter(torch.zeros(1)) for name in names}
    for _ in range(n_steps):
        for parameter in parameters.values():
            parameter.grad = torch.ones(1)
        step(optimizer, parameters, shim_id=1)
        optimizer.step_schedules()
    return {name: -parameter.item() for name, parameter in parameters.items()}


def test_the_first_matching_group_sets_the_learning_rate():
    optimizer = build_sgd(
        0.1,
        grad_clip=0.0,
        groups=[
            {"pattern": r"^encoder\.0", "learn_rate": 0.5},
            {"pattern": "^encoder", "learn_rate_factor": 0.2},
        ],
    )
    moved = moved_by(optimizer, ["encoder.0.w", "encoder.1.w", "head.w"])
    assert moved == pytest.approx({"encoder.0.w": 0.5, "encoder.1.w": 0.02, "head.w": 0.1})


def test_a_group_may_follow_a_schedule_of_its_own_or_share_the_optimizers():
    optimizer = build_sgd(
        warmup_linear(1.0, 4, 8),
        grad_clip=0.0,
        groups=[
            {"pattern": "own", "learn_rate": [0.5, 0.25, 0.125]},
            {"pattern": "shared", "learn_rate_factor": 0.1},
        ],
    )
    moved = moved_by(optimizer, ["own", "shared", "rest"], n_steps=3)
    # a warm-up over four steps: 0, 1/4, 2/4
    assert moved == pytest.approx({"own": 0.875, "shared": 0.075, "rest": 0.75})


def test_a_frozen_parameter_is_not_moved_and_costs_no_state():
    groups = [{"pattern": "encoder", "freeze": True}]
    optimizer = build_adamw(0.1, groups=groups, use_averages=True)
    moved = moved_by(optimizer, ["encoder.w", "head.w"], n_steps=3)
    assert moved["encoder.w"] == 0.0
    assert moved["head.w"] > 0.0
    key = parameter_key(1, "encoder.w")
    assert key not in optimizer.mom1
    assert key not in optimizer.averages
    assert key not in optimizer.nr_update


def test_a_frozen_parameter_does_not_count_for_clipping():
    optimizer = build_sgd(1.0, grad_clip=1.0, groups=[{"pattern": "a", "freeze": True}])
    parameters = {"a": nn.Parameter(torch.zeros(1)), "b": nn.Parameter(torch.zeros(1))}
    parameters["a"].grad, parameters["b"].grad = torch.full((1,), 100.0), torch.full((1,), 0.5)
    step(optimizer, parameters, shim_id=1, norms={"a": 100.0, "b": 0.5})
    assert parameters["b"].item() == -0.5


def test_a_parameter_thaws_at_its_step():
    optimizer = build_sgd(0.1, grad_clip=0.0, groups=[{"pattern": "encoder", "unfreeze_step": 3}])
    moved = moved_by(optimizer, ["encoder.w", "head.w"], n_steps=5)
    assert moved["encoder.w"] / moved["head.w"] == pytest.approx(2 / 5, rel=0.3)
    assert moved_by(
        build_sgd(0.1, groups=[{"pattern": "encoder", "unfreeze_step": 3}]),
        ["encoder.w"],
        n_steps=3,
    ) == {"encoder.w": 0.0}


def test_a_pattern_that_matches_nothing_is_an_error_naming_it():
    optimizer = build_adamw(0.1, groups=[{"pattern": "^encodr", "freeze": True}])
    with pytest.raises(
        ValueError, match=r"matches '\^encodr' of .*the names are encoder.w, head.w"
    ):
        moved_by(optimizer, ["encoder.w", "head.w"], n_steps=GRACE + 1)


def test_a_pattern_that_matches_nothing_is_found_without_schedules_too():
    optimizer = build_adamw(0.1, groups=[{"pattern": "encodr", "freeze": True}])
    parameters = {"encoder.w": nn.Parameter(torch.zeros(1))}
    for _ in range(GRACE):
        step(optimizer, parameters, shim_id=1)
    with pytest.raises(ValueError, match="no parameter matches 'encodr'"):
        step(optimizer, parameters, shim_id=1)


def test_a_component_without_gold_in_the_first_batches_may_be_meant():
    optimizer = build_adamw(0.1, groups=[{"pattern": "^late", "learn_rate": 0.5}])
    for name in ["early"] * (GRACE - 1) + ["late"]:
        parameters = {name: nn.Parameter(torch.zeros(1))}
        parameters[name].grad = torch.ones(1)
        step(optimizer, parameters, shim_id=1 + (name == "late"))
        optimizer.step_schedules()
    optimizer.step_schedules()


def test_a_pattern_may_be_meant_for_another_component():
    optimizer = build_adamw(0.1, groups=[{"pattern": "^head", "learn_rate": 0.5}])
    for shim_id, name in ((1, "encoder"), (2, "head")):
        parameters = {name: nn.Parameter(torch.zeros(1))}
        parameters[name].grad = torch.ones(1)
        step(optimizer, parameters, shim_id=shim_id)
    optimizer.step_schedules()


def test_a_schedule_of_a_group_may_be_a_block_of_the_config():
    text = """
    [optimizer]
    @optimizers = "spacy-torch.SGD.v1"
    learn_rate = 1.0
    grad_clip = 0.0
    groups = [{"pattern": "^head", "learn_rate": {"@schedules": "constant.v1", "rate": 0.25}}]
    """
    optimizer = registry.resolve(Config().from_str(text))["optimizer"]
    moved = moved_by(optimizer, ["encoder.w", "head.w"], n_steps=1)
    assert moved["head.w"] / moved["encoder.w"] == pytest.approx(0.25)


def test_a_block_that_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="learn_rate as a block must name its @schedules"):
        build_sgd(0.1, groups=[{"pattern": "w", "learn_rate": {"rate": 0.1}}])


def test_a_group_that_earlier_groups_leave_nothing_is_an_error():
    groups = [{"pattern": "bag", "learn_rate_factor": 2.0}, {"pattern": "bag.b", "freeze": True}]
    with pytest.raises(ValueError, match=r"matches 'bag\.b' of .*or an earlier group has it"):
        moved_by(build_adamw(0.1, groups=groups), ["bag.b", "head.w"], n_steps=GRACE + 1)


def moved_by_component(pattern):
    optimizer = build_sgd(0.1, grad_clip=0.0, groups=[{"pattern": pattern, "learn_rate": 0.5}])
    moved = {}
    for shim_id, owner in ((1, "first"), (2, "the_bag")):
        parameters = {"bag": nn.Parameter(torch.zeros(1)), "head": nn.Parameter(torch.zeros(1))}
        for parameter in parameters.values():
            parameter.grad = -torch.ones(1)
        step(optimizer, parameters, shim_id=shim_id, owner=owner)
        moved[owner] = [round(parameter.item(), 6) for parameter in parameters.values()]
    optimizer.step_schedules()
    return moved


def test_a_pattern_may_begin_with_the_component():
    assert moved_by_component(r"^first\.bag") == {"first": [0.5, 0.1], "the_bag": [0.1, 0.1]}
    assert moved_by_component(r"the_bag\.") == {"first": [0.1, 0.1], "the_bag": [0.5, 0.5]}


def test_a_pattern_is_not_found_in_the_name_of_a_component_alone():
    assert moved_by_component("bag") == {"first": [0.5, 0.1], "the_bag": [0.5, 0.1]}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("freeze", "no", "true or false, got 'no'"),
        ("freeze", 1, "true or false, got 1"),
        ("unfreeze_step", 2.5, "a whole number, got 2.5"),
        ("unfreeze_step", True, "a whole number, got True"),
        ("learn_rate", "0.1", "a number or a schedule, got '0.1'"),
        ("learn_rate_factor", [2.0], r"a number, got \[2.0\]"),
        ("weight_decay", "0", "a number, got '0'"),
    ],
)
def test_a_setting_of_another_type_is_named(field, value, expected):
    with pytest.raises(ValueError, match=rf"groups\[0\]: {field} must be {expected}"):
        build_adamw(0.1, groups=[{"pattern": "a", field: value}])


def test_all_mistakes_in_groups_are_told_at_once():
    groups = [
        {"pattern": "a", "learning_rate": 0.1},
        {"learn_rate": 0.1},
        {"pattern": "(", "weight_decay": -1.0},
        {"pattern": "b", "learn_rate": 0.1, "learn_rate_factor": 2.0},
    ]
    with pytest.raises(ValueError, match="unknown key 'learning_rate'") as caught:
        build_adamw(0.1, groups=groups)
    message = str(caught.value)
    assert "groups[0]: unknown key 'learning_rate', expected one of pattern, learn_rate" in message
    assert "groups[1]: pattern must be a regular expression, got None" in message
    assert "groups[2]: pattern '(' is not a regular expression" in message
    assert "groups[2]: weight_decay must be >= 0, got -1.0" in message
    assert "groups[3]: give learn_rate or learn_rate_factor, not both" in message


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov needs a momentum > 0, got 0.0"):
        build_sgd(0.1, nesterov=True)


def test_averages_are_kept_on_demand():
    module, optimizer = build_module(), build_adamw(0.01, use_averages=True)
    parameters = dict(module.named_parameters())
    train(optimizer, module, n_steps=1)
    averaged = averaged_parameters(optimizer.averages, parameters, shim_id=1)
    for name, parameter in parameters.items():  # the first decay is 2 / 11, from zero
        torch.testing.assert_close(averaged[name], parameter.detach() * 9 / 11)
    assert build_adamw(0.01).averages is None


def test_thinc_parameters_are_moved_by_thincs_arithmetic():
    ours, stock = build_adamw(0.1, weight_decay=0.01), Optimizer(0.1, L2=0.01, use_averages=False)
    arrays = [numpy.ones((2, 3), dtype="f") for _ in range(2)]
    for _ in range(5):
        for optimizer, array in zip((ours, stock), arrays, strict=True):
            optimizer((7, "W"), array, numpy.full((2, 3), 0.2, dtype="f"))
    numpy.testing.assert_array_equal(*arrays)
    assert isinstance(ours, Optimizer)


def test_bf16_weights_are_stepped():
    for build, shape in itertools.product((build_adamw, build_sgd, build_radam), ((3,), (2, 3))):
        parameter = nn.Parameter(torch.ones(shape, dtype=torch.bfloat16))
        parameter.grad = torch.ones_like(parameter)
        step(build(0.1), {"w": parameter}, shim_id=1)
        assert (parameter < 1).all()


def test_same_seed_same_weights():
    modules = []
    for _ in range(2):
        torch.manual_seed(5)
        modules.append(build_module())
        train(build_adamw(0.01), modules[-1])
    for one, other in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_config_resolves_to_the_optimizer():
    from spacy import registry

    for name in ("AdamW", "Adam", "RAdam", "SGD"):
        config = Config().from_str(
            f"""
            [optimizer]
            @optimizers = "spacy-torch.{name}.v1"
            weight_decay = 0.1
            groups = [{{"pattern":"^encoder","learn_rate":0.001,"unfreeze_step":100}}]

            [optimizer.learn_rate]
            @schedules = "warmup_linear.v1"
            warmup_steps = 10
            total_steps = 100
            initial_rate = 0.01
            """
        )
        optimizer = registry.resolve(config)["optimizer"]
        optimizer.step_schedules()
        assert optimizer.learn_rate == pytest.approx(0.001)
        assert optimizer.groups[0].unfreeze_step == 100
