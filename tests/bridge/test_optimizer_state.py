"""A training that was saved and resumed goes on bit for bit as if it had not been interrupted."""

import copy
import itertools

import numpy
import pytest
import torch
from thinc.api import SGD, Adam, Linear, Model, RAdam, chain
from thinc.schedules import warmup_linear
from torch import nn

from spacy_torch.bridge.averages import averaged_parameters
from spacy_torch.bridge.keys import array_key, parameter_key
from spacy_torch.bridge.optimizer_state import load_optimizer, save_optimizer
from spacy_torch.bridge.schedule_position import count_schedules
from spacy_torch.bridge.step import step
from spacy_torch.bridge.torch_optimizers import build_adamw, build_radam, build_sgd
from spacy_torch.bridge.weights import WeightsError, save_weights

N_ROWS = 12
SHIM_IDS = itertools.count(1000)


class FakeShim:
    def __init__(self):
        self.id = next(SHIM_IDS)
        self.module = nn.ModuleDict(
            {
                "table": nn.Embedding(N_ROWS, 3, sparse=True),
                "dense": nn.Linear(3, 2),
                "narrow": nn.Linear(3, 2, dtype=torch.bfloat16),
            }
        )


class Pipeline:
    """A torch module and a Thinc layer in one model, and a second component."""

    def __init__(self):
        self.shim = FakeShim()
        torch_node = Model("torch", forward=None, shims=[self.shim])
        self.linear = Linear(2, 3, init_W=numpy_init, init_b=numpy_init)
        self.models = {
            "textcat": chain(torch_node, self.linear),
            "tagger": Linear(2, 2, init_W=numpy_init, init_b=numpy_init),
        }
        self.layers = [self.linear, self.models["tagger"]]
        for layer in self.layers:
            layer.initialize()

    def train(self, optimizer, batches):
        for batch in batches:
            generator = torch.Generator().manual_seed(batch)
            module = self.shim.module
            rows = torch.randint(N_ROWS, (4,), generator=generator)
            vectors = module["table"](rows)
            loss = module["dense"](vectors).square().sum()
            loss = loss + module["narrow"](vectors.bfloat16()).float().square().sum()
            loss.backward()
            step(optimizer, dict(module.named_parameters()), shim_id=self.shim.id)
            for node in self.layers:
                for name in node.param_names:
                    gradient = torch.randn(node.get_param(name).shape, generator=generator)
                    moved, _ = optimizer((node.id, name), node.get_param(name), gradient.numpy())
                    node.set_param(name, moved)
            optimizer.step_schedules()

    def weights(self):
        tensors = dict(self.shim.module.state_dict())
        for place, node in enumerate(self.layers):
            for name in node.param_names:
                tensors[f"{place}.{name}"] = torch.from_numpy(node.get_param(name).copy())
        return tensors

    def averages(self, optimizer):
        if optimizer.averages is None:
            return {}
        parameters = dict(self.shim.module.named_parameters())
        averages = averaged_parameters(optimizer.averages, parameters, shim_id=self.shim.id)
        for place, node in enumerate(self.layers):
            for name in node.param_names:
                averages[f"{place}.{name}"] = torch.from_numpy(optimizer.averages[node.id, name])
        return averages

    def copy(self):
        """The same weights under other ids, as another process would have them."""
        other = Pipeline()
        other.shim.module.load_state_dict(self.shim.module.state_dict())
        for mine, theirs in (
            (self.linear, other.linear),
            (self.models["tagger"], other.models["tagger"]),
        ):
            for name in mine.param_names:
                theirs.set_param(name, mine.get_param(name).copy())
        return other


def numpy_init(ops, shape):
    return ops.asarray(numpy.random.standard_normal(shape).astype("float32"))


def make_schedule():
    return warmup_linear(0.01, 5, 30)


OPTIMIZERS = {
    "stock Adam": lambda: Adam(make_schedule(), L2=0.01),
    "stock Adam without averages": lambda: Adam(0.01, use_averages=False),
    "stock RAdam": lambda: RAdam(make_schedule()),
    "stock SGD": lambda: SGD([0.1, 0.05, 0.01]),
    "AdamW": lambda: build_adamw(
        make_schedule(),
        groups=[
            {"pattern": "^table", "learn_rate": warmup_linear(0.02, 3, 40)},
            {"pattern": r"dense\.bias", "unfreeze_step": 13},
        ],
    ),
    "AdamW with averages": lambda: build_adamw(0.01, use_averages=True),
    "RAdam": lambda: build_radam(0.01),
    "SGD": lambda: build_sgd(0.01, momentum=0.9),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_resumed_training_equals_undisturbed_training(make, tmp_path):
    undisturbed, optimizer = Pipeline(), make()
    undisturbed.train(optimizer, range(10))
    save_optimizer(optimizer, undisturbed.models, tmp_path / "optimizer.safetensors")
    resumed, fresh = undisturbed.copy(), make()
    undisturbed.train(optimizer, range(10, 20))
    load_optimizer(fresh, resumed.models, tmp_path / "optimizer.safetensors")
    resumed.train(fresh, range(10, 20))
    assert fresh.learn_rate == optimizer.learn_rate
    expected, found = undisturbed.weights(), resumed.weights()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    expected, found = undisturbed.averages(optimizer), resumed.averages(fresh)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_a_second_save_gives_the_same_bytes(tmp_path):
    pipeline, optimizer = Pipeline(), Adam(0.01)
    pipeline.train(optimizer, range(3))
    save_optimizer(optimizer, pipeline.models, tmp_path / "one")
    other, fresh = pipeline.copy(), Adam(0.01)
    load_optimizer(fresh, other.models, tmp_path / "one")
    save_optimizer(fresh, other.models, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_holds_only_the_rows_that_were_touched(tmp_path):
    shim = FakeShim()
    shim.module = nn.Embedding(100_000, 8, sparse=True)
    shim.module(torch.tensor([5, 7])).sum().backward()
    optimizer = Adam(0.1)
    step(optimizer, dict(shim.module.named_parameters()), shim_id=shim.id)
    models = {"textcat": Model("torch", forward=None, shims=[shim])}
    save_optimizer(optimizer, models, tmp_path / "state")
    assert (tmp_path / "state").stat().st_size < 10_000


def saved(tmp_path, make=lambda: Adam(0.01)):
    pipeline, optimizer = Pipeline(), make()
    pipeline.train(optimizer, range(2))
    save_optimizer(optimizer, pipeline.models, tmp_path / "state")
    return pipeline, tmp_path / "state"


def test_another_kind_of_optimizer_is_refused(tmp_path):
    pipeline, path = saved(tmp_path)
    with pytest.raises(ValueError, match="the state of Adam with averages, .* RAdam with averages"):
        load_optimizer(RAdam(0.01), pipeline.models, path)


def test_another_schedule_is_refused_unless_wanted(tmp_path):
    pipeline, path = saved(tmp_path, lambda: Adam(make_schedule()))
    other = Adam(warmup_linear(0.5, 5, 30))
    with pytest.raises(ValueError, match="learn_rate is 0.2 after 3 values .* but was 0.004"):
        load_optimizer(other, pipeline.models, path)
    load_optimizer(other, pipeline.models, path, hyperparameters="given")
    assert other.learn_rate == pytest.approx(0.2)


def test_constants_are_the_saved_ones_unless_others_are_wanted(tmp_path):
    pipeline, path = saved(tmp_path)
    taken, kept = Adam(0.5, L2=0.3), Adam(0.5, L2=0.3)
    load_optimizer(taken, pipeline.models, path)
    load_optimizer(kept, pipeline.models, path, hyperparameters="given")
    assert (taken.learn_rate, taken.L2) == (0.01, 0.0)
    assert (kept.learn_rate, kept.L2) == (0.5, 0.3)


def test_a_used_schedule_cannot_be_run_forward(tmp_path):
    pipeline, path = saved(tmp_path, lambda: Adam(make_schedule()))
    used = Adam(make_schedule())
    count_schedules(used)
    for _ in range(9):
        used.step_schedules()
    with pytest.raises(ValueError, match="learn_rate is at value 10, past 3"):
        load_optimizer(used, pipeline.models, path)


def test_a_shorter_schedule_cannot_be_run_forward(tmp_path):
    pipeline, path = saved(tmp_path, lambda: Adam(make_schedule()))
    with pytest.raises(ValueError, match="learn_rate ends after 1 values, .* had given 3"):
        load_optimizer(Adam([0.1]), pipeline.models, path)


def test_an_uncounted_schedule_cannot_be_saved(tmp_path):
    optimizer, linear = Adam(make_schedule()), Linear(2, 2).initialize()
    optimizer((linear.id, "b"), numpy.ones(2, dtype="f"), numpy.ones(2, dtype="f"))
    with pytest.raises(ValueError, match="schedule of learn_rate is not known: call count_sched"):
        save_optimizer(optimizer, {"tagger": linear}, tmp_path / "state")


def test_a_pipeline_without_the_component_is_refused(tmp_path):
    pipeline, path = saved(tmp_path)
    del pipeline.models["tagger"]
    with pytest.raises(ValueError, match="'thinc:tagger/0/.' belongs to nothing in these models"):
        load_optimizer(Adam(0.01), pipeline.models, path)


def test_a_parameter_of_another_shape_is_refused(tmp_path):
    pipeline, path = saved(tmp_path)
    pipeline.shim.module["dense"] = nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r"dense.bias' has shape \[2\], the parameter has \[5\]"):
        load_optimizer(Adam(0.01), pipeline.models, path)


def test_a_parameter_that_is_gone_is_refused(tmp_path):
    pipeline, path = saved(tmp_path)
    del pipeline.shim.module["dense"]
    with pytest.raises(ValueError, match="none called 'dense.bias'"):
        load_optimizer(Adam(0.01), pipeline.models, path)


def test_a_damaged_file_changes_nothing(tmp_path):
    pipeline, path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    optimizer = Adam(0.01)
    with pytest.raises(WeightsError, match="state: .*digest"):
        load_optimizer(optimizer, pipeline.models, path)
    assert not optimizer.nr_update
    assert not optimizer.mom1


def test_a_file_of_weights_is_no_optimizer_state(tmp_path):
    save_weights({"w": torch.ones(1)}, tmp_path / "w", name="textcat", sizes={}, info={})
    with pytest.raises(ValueError, match="this file holds no optimizer state"):
        load_optimizer(Adam(0.01), {}, tmp_path / "w")


def test_state_of_other_models_is_left_out_with_a_warning(tmp_path, caplog):
    pipeline, optimizer = Pipeline(), Adam(0.01)
    pipeline.train(optimizer, range(1))
    optimizer((10**9, "W"), numpy.ones(2, dtype="f"), numpy.ones(2, dtype="f"))
    save_optimizer(optimizer, pipeline.models, tmp_path / "state")
    assert "state of 1 parameters is not saved" in caplog.text
    load_optimizer(Adam(0.01), pipeline.models, tmp_path / "state")


def test_state_from_rehearsing_is_saved_too(tmp_path):
    pipeline, optimizer = Pipeline(), Adam(0.01)
    key = array_key(pipeline.shim.id, "dense.bias", [2])
    optimizer(key, numpy.ones(2, dtype="f"), numpy.ones(2, dtype="f"))
    save_optimizer(optimizer, pipeline.models, tmp_path / "state")
    fresh = Adam(0.01)
    load_optimizer(fresh, pipeline.models, tmp_path / "state")
    assert fresh.mom1[key].tolist() == optimizer.mom1[key].tolist()
    assert isinstance(fresh.mom1[key], numpy.ndarray)
    assert parameter_key(pipeline.shim.id, "dense.bias") not in fresh.mom1
    copy.deepcopy(fresh)
