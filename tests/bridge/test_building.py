"""Modules are built from the sizes they ask for, and rebuilt without forgetting."""

from functools import partial

import pytest
import torch
from torch import nn

from spacy_torch.bridge.building import build_sized, copy_learned, takes


def build_linear(n_labels: int, width: int = 3) -> nn.Module:
    return nn.Linear(width, n_labels)


def build_anything(**sizes: int) -> nn.Module:
    return nn.Linear(1, sum(sizes.values()))


def test_builder_gets_only_the_sizes_it_takes():
    module = build_sized(build_linear, {"n_labels": 2, "vector_width": 300})
    assert module.weight.shape == (2, 3)
    assert build_sized(build_anything, {"a": 2, "b": 3}).weight.shape == (5, 1)


def test_module_is_built_in_evaluation_mode():
    assert not build_sized(build_linear, {"n_labels": 2}).training


def test_bound_size_is_not_asked_for_again():
    assert not takes(partial(build_linear, n_labels=5), "n_labels")
    assert not takes(partial(build_linear, 5), "n_labels")
    assert takes(partial(build_linear, width=5), "n_labels")
    module = build_sized(partial(build_linear, n_labels=5), {"n_labels": 2})
    assert module.weight.shape == (5, 3)


def test_class_counts_as_a_builder():
    module = build_sized(nn.Linear, {"in_features": 2, "out_features": 3, "n_labels": 4})
    assert module.weight.shape == (3, 2)


@pytest.mark.parametrize(("returned", "kind"), [(nn.Linear, "type"), (None, "NoneType")])
def test_builder_that_returns_no_module_is_named(returned, kind):
    def build_wrongly() -> object:
        return returned

    message = f"builder .*build_wrongly returned '{kind}', expected a torch.nn.Module: return the"
    with pytest.raises(TypeError, match=message):
        build_sized(build_wrongly, {})


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_rows_that_both_modules_have_are_copied(n_labels):
    learned, fresh = build_linear(3), build_linear(n_labels)
    untouched = fresh.weight.detach().clone()
    copy_learned(learned, fresh)
    n_shared = min(3, n_labels)
    assert torch.equal(fresh.weight[:n_shared], learned.weight[:n_shared])
    assert torch.equal(fresh.bias[:n_shared], learned.bias[:n_shared])
    assert torch.equal(fresh.weight[n_shared:], untouched[n_shared:])


def test_tensors_of_another_kind_stay_fresh():
    learned, fresh = nn.Sequential(nn.Conv1d(2, 2, 1)), nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    before = fresh[0].weight.detach().clone()
    copy_learned(learned, fresh)
    assert torch.equal(fresh[0].weight, before)


def test_buffers_are_copied_too():
    learned, fresh = nn.BatchNorm1d(2), nn.BatchNorm1d(3)
    learned.running_mean.fill_(7.0)
    learned.num_batches_tracked.fill_(5)
    copy_learned(learned, fresh)
    assert fresh.running_mean.tolist() == [7.0, 7.0, 0.0]
    assert int(fresh.num_batches_tracked) == 5


def test_what_was_frozen_stays_so_in_the_rebuilt_module():
    source, target = nn.Linear(3, 2), nn.Linear(3, 4)
    source.weight.requires_grad_(False)
    copy_learned(source, target)
    assert [parameter.requires_grad for parameter in target.parameters()] == [False, True]
