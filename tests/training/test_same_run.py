"""Ranks that were started to do different things are refused before they begin."""

import sys
from types import SimpleNamespace

import pytest
from rank_data import compare_runs
from ranks import run_ranks

from spacy_torch.distributed.world import NotTogetherError, World
from spacy_torch.training import same_run
from spacy_torch.training.same_run import check_same_run

CONFIG = {"training": {"seed": 0, "optimizer": {}}, "paths": {"train": "/data"}}
VERSIONS = {"spacy": "3.8.0"}


def test_ranks_with_other_settings_and_versions_are_told_which():
    other = {**CONFIG, "training": {"seed": 1, "optimizer": {"L2": 0.1}}}
    told = run_ranks(compare_runs, 2, [(CONFIG, VERSIONS), (other, {"spacy": "3.8.1"})])
    assert told[0] == told[1] == (
        "the processes were not started alike: "
        'config.training.optimizer is {} on rank 0, "nothing" on rank 1; '
        'config.training.optimizer.L2 is "nothing" on rank 0, 0.1 on rank 1; '
        "config.training.seed is 0 on rank 0, 1 on rank 1; "
        'versions.spacy is "3.8.0" on rank 0, "3.8.1" on rank 1. '
        "Give all of them the same config, overrides, code and packages"
    )  # fmt: skip


def test_data_may_lie_somewhere_else_on_each_machine():
    other = {**CONFIG, "paths": {"train": "/mnt"}, "corpora": {"train": {"path": "/mnt"}}}
    here = {**CONFIG, "corpora": {"train": {"path": "/data"}}}
    assert run_ranks(compare_runs, 2, [(here, VERSIONS), (other, VERSIONS)]) == [None, None]


def test_last_digits_of_a_number_are_no_difference():
    """In a file it is read as it is, on the command line as its neighbour."""
    there = {"training": {"dropout": 0.3, "betas": [0.9, 0.009]}}
    here = {"training": {"dropout": 0.3 + 5e-17, "betas": [0.9, 0.009 + 2e-18]}}
    assert there != here
    world = SimpleNamespace(size=2, gather=lambda own: [{**own, "config": there}, own])
    check_same_run(world, here, {})  # type: ignore[arg-type]
    here["training"]["betas"].append(0.1)
    with pytest.raises(NotTogetherError, match=r"config.training.betas is .* on rank 1"):
        check_same_run(world, here, {})  # type: ignore[arg-type]


def test_one_process_compares_nothing():
    check_same_run(World(), {"not": object}, {})


def test_many_differences_are_counted():
    world = SimpleNamespace(size=2, gather=lambda own: [own, {**own, "config": {}}])
    settings = {f"setting{number}": number for number in range(8)}
    # Of eight settings and the empty config beside them, five are shown.
    with pytest.raises(ValueError, match=r"setting3 .*; and 4 more\. Give all"):
        check_same_run(world, settings, {})  # type: ignore[arg-type]


def test_code_is_known_by_the_file_that_spacy_imports(tmp_path, monkeypatch):
    seen = []
    world = SimpleNamespace(size=2, gather=lambda own: seen.append(own["code"]) or [own, own])
    for text in ("a = 1", "a = 2", None):
        file = tmp_path / "code.py"
        file.write_text(text or "")
        module = SimpleNamespace(__file__=str(file)) if text else None
        monkeypatch.setitem(sys.modules, "python_code", module)
        check_same_run(world, {}, {})  # type: ignore[arg-type]
    first, second, without = (code["--code"] for code in seen)
    assert len({first, second, without}) == 3
    assert without == same_run.NOTHING
