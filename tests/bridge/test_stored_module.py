"""No module is built from sizes that the weights beside them do not bear out."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from spacy_torch.bridge.building import named_tensors
from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.bridge.weights import WeightsError, save_weights, weights_to_chunks

HUGE = 10**13


class Scorer(nn.Linear):
    def __init__(self, n_labels: int) -> None:
        super().__init__(3, n_labels)


class ScorerOfNumbers(Scorer):
    """Looks at a number while it is built, which a tensor without data does not have."""

    def __init__(self, n_labels: int) -> None:
        self.scale = torch.tensor(2.0).sqrt().item()
        super().__init__(n_labels)


class TalkativeScorer(Scorer):
    def __init__(self, n_labels: int) -> None:
        warnings.warn("built", stacklevel=2)
        super().__init__(n_labels)


def make_shim(build: Any, *, name: str = "scorer") -> Any:
    return get_shim(wrap_module(build, name=name, runtime=Runtime(device="cpu")))


def saved_with(sizes: dict[str, int]) -> list[bytes]:
    return weights_to_chunks(named_tensors(Scorer(2)), name="scorer", sizes=sizes, info={})


def test_sizes_that_are_not_the_files_take_no_memory():
    message = (
        r"weights of 'scorer': tensor 'bias' has shape \[2\], the module needs \[1000000000000"
    )
    with pytest.raises(WeightsError, match=message):
        make_shim(Scorer).from_bytes(saved_with({"n_labels": HUGE}))


def test_sizes_are_held_to_the_file_where_a_module_cannot_be_planned():
    message = r"the size n_labels = 10000000000000 stored.*all tensors together have 8 elements"
    with pytest.raises(WeightsError, match=message):
        make_shim(ScorerOfNumbers).from_bytes(saved_with({"n_labels": HUGE}))


@pytest.mark.parametrize("build", [Scorer, ScorerOfNumbers])
def test_module_is_built_once_the_sizes_are_borne_out(build):
    shim = make_shim(build).from_bytes(saved_with({"n_labels": 2}))
    assert shim.module.weight.shape == (2, 3)


def test_failing_builder_is_told_with_the_sizes_and_leaves_the_module(tmp_path):
    shim = make_shim(Scorer).from_bytes(saved_with({"n_labels": 2}))
    before = shim.module
    save_weights(named_tensors(before), tmp_path / "w", name="scorer", sizes={}, info={})
    message = (
        r"file .*w: the module cannot be built from the sizes {} stored.*TypeError: .*n_labels"
    )
    with pytest.raises(WeightsError, match=message):
        shim.from_disk(tmp_path / "w")
    assert shim.module is before


def test_missing_package_is_named_as_it_is():
    data = make_shim(Scorer)
    data.initialize({"n_labels": 2})

    def build_without_package(n_labels: int) -> nn.Module:
        raise ImportError("python -m pip install something")

    with pytest.raises(ImportError, match="^python -m pip install something$"):
        make_shim(build_without_package).from_bytes(data.to_bytes())


def test_weights_of_another_architecture_are_refused():
    message = r"weights of 'other': these are weights of 'scorer', not of 'other': use the arch"
    with pytest.raises(WeightsError, match=message):
        make_shim(Scorer, name="other").from_bytes(saved_with({"n_labels": 2}))


def test_planning_leaves_random_numbers_and_warnings_alone():
    data = saved_with({"n_labels": 2})
    torch.manual_seed(3)
    Scorer(2)
    expected = torch.rand(1)
    torch.manual_seed(3)
    make_shim(Scorer).from_bytes(data)
    assert torch.equal(torch.rand(1), expected)
    with pytest.warns(UserWarning, match="built") as caught:
        make_shim(TalkativeScorer).from_bytes(data)
    assert len(caught) == 1
