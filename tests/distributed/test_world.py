"""Processes find each other, and say what is wrong when they do not."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from rank_work import crash, leave_twice, say_hello
from ranks import RankError, run_ranks
from torch import distributed

from spacy_torch.distributed.world import World, find_world

TESTS = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_alone_is_rank_0_of_1_and_joins_nothing():
    assert find_world() == World(0, 1)
    assert not distributed.is_initialized()


def test_a_world_of_one_gives_back_what_it_is_given():
    assert World().broadcast("x") == "x"
    assert World().gather("x") == ["x"]
    with pytest.raises(FrozenInstanceError):
        World().rank = 1


def test_one_process_started_by_torchrun_is_alone(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_world() == World(0, 1)
    assert not distributed.is_initialized()


def test_ranks_of_a_group_that_exists_find_it_and_tell_each_other():
    gathered = ["hello from 0", "hello from 1", "hello from 2"]
    assert run_ranks(say_hello, 3) == [(rank, 3, {"from": 0}, gathered) for rank in range(3)]


def test_ranks_join_by_the_variables_that_torchrun_sets():
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    answers = run_ranks(say_hello, 2, **address)
    assert [answer[:3] for answer in answers] == [(0, 2, {"from": 0}), (1, 2, {"from": 0})]


@pytest.mark.slow
@pytest.mark.parametrize("rendezvous", [["--standalone"], ["--rdzv-backend", "static"]])
def test_ranks_that_torchrun_starts_again_find_each_other_again(tmp_path, rendezvous):
    if "static" in rendezvous:
        rendezvous += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
           "--max-restarts", "1", *rendezvous, "rank_work.py", str(tmp_path)]  # fmt: skip
    result = subprocess.run(run, cwd=TESTS, capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "crashed": "",
        "0": "['hello from 0', 'hello from 1']",
        "1": "['hello from 0', 'hello from 1']",
    }


def test_a_group_is_ended_once():
    assert run_ranks(leave_twice, 2) == [[True, False]] * 2


def test_a_rank_that_raises_is_told_by_name():
    with pytest.raises(RankError, match=r"rank 0: .*\n(.*\n)+ZeroDivisionError"):
        run_ranks(crash, 1)


@pytest.mark.parametrize("rank", [None, "2", "-1"])
def test_a_rank_outside_of_the_world_is_refused(monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    with pytest.raises(ValueError, match=re.escape(f"RANK must be 0 to 1, got {rank!r}")):
        find_world()


def test_a_variable_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE must be a number, got 'two'"):
        find_world()


def test_torch_without_collectives_is_refused_only_if_they_are_needed(monkeypatch):
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    assert find_world() == World()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"without torch\.distributed"):
        find_world()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(os, "environ", {**os.environ, "RANK": "0", "WORLD_SIZE": "2",
                            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})  # fmt: skip
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}: the port is in use"):
            find_world(timeout=5)


def test_a_rank_whose_others_never_come_says_where_it_looked(monkeypatch):
    port = free_port()
    monkeypatch.setattr(os, "environ", {**os.environ, "RANK": "1", "WORLD_SIZE": "2",
                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})  # fmt: skip
    with pytest.raises(ConnectionError, match=rf"rank 1 of 2 found no way .* 127\.0\.0\.1:{port}"):
        find_world(timeout=1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
