import copy
import multiprocessing
import os
import pickle
from threading import Event, Thread

import pytest
import torch

from spacy_torch.nn.type_cache import TypeCache

ROW_BYTES = 3 * 4  # of the tables of Squares: one column and two, in float32


class Squares:
    """Computes rows and counts how many it was asked for."""

    def __init__(self, keys: list[int]) -> None:
        self.keys = torch.tensor(keys)
        self.n_computed = 0

    def __call__(self, missing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.n_computed += len(missing)
        keys = self.keys[missing].float().unsqueeze(1)
        return keys**2, torch.cat([keys, -keys], dim=1)


def look_up(cache: TypeCache, keys: list[int], *, stamp: int = 0) -> int:
    """Check the rows of the keys; returns how many were computed."""
    squares = Squares(keys)
    slots, (first, second) = cache.look_up(keys, stamp=stamp, compute=squares)
    assert first[slots, 0].tolist() == [key**2 for key in keys]
    assert second[slots].tolist() == [[key, -key] for key in keys]
    return squares.n_computed


def test_known_keys_are_not_computed_again():
    cache = TypeCache()
    assert look_up(cache, [3, 1, 2]) == 3
    assert look_up(cache, [2, 5, 3]) == 1
    assert look_up(cache, [5, 1]) == 0
    assert len(cache) == 4


def test_rows_survive_growth():
    cache = TypeCache()
    for start in range(0, 300, 7):
        look_up(cache, list(range(start, start + 7)))
    assert look_up(cache, list(range(301))) == 0


def test_other_stamp_forgets_everything():
    cache = TypeCache()
    look_up(cache, [1, 2], stamp=0)
    assert look_up(cache, [1, 2], stamp=1) == 2
    assert len(cache) == 2


def test_full_cache_starts_afresh():
    cache = TypeCache(capacity=5 * ROW_BYTES)
    look_up(cache, [1, 2, 3])
    assert look_up(cache, [2, 4, 5]) == 2
    assert look_up(cache, [3, 4, 5, 6]) == 4
    assert len(cache) == 4


def test_batch_larger_than_the_capacity_is_still_right_and_not_kept():
    cache = TypeCache(capacity=2 * ROW_BYTES)
    assert look_up(cache, [1, 2, 3]) == 3
    assert len(cache) == 0
    assert look_up(cache, [1, 2]) == 2
    assert look_up(cache, [1, 2]) == 0


def test_kept_tables_never_take_more_than_the_capacity():
    cache = TypeCache(capacity=50 * ROW_BYTES)
    for start in range(0, 300, 7):
        look_up(cache, list(range(start, start + 7)))
        assert len(cache) * ROW_BYTES <= cache.n_bytes <= cache.capacity


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
# Newer versions of Python warn that a forked process may deadlock: this tests that it does not.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_process_forked_while_another_thread_writes_can_look_up():
    cache, is_writing, may_go_on = TypeCache(), Event(), Event()

    def write_slowly(missing):
        is_writing.set()
        may_go_on.wait(60)
        return Squares([1, 2])(missing)

    thread = Thread(target=lambda: cache.look_up([1, 2], stamp=0, compute=write_slowly))
    thread.start()
    is_writing.wait(60)
    child = multiprocessing.get_context("fork").Process(target=look_up, args=(cache, [1, 2]))
    child.start()
    may_go_on.set()
    thread.join()
    child.join(20)
    is_stuck = child.is_alive()
    child.kill()
    child.join()
    assert not is_stuck
    assert child.exitcode == 0


def test_reader_keeps_its_tables_while_others_write():
    cache = TypeCache(capacity=4 * ROW_BYTES)
    slots, tables = cache.look_up([1, 2], stamp=0, compute=Squares([1, 2]))
    look_up(cache, [7, 8, 9])
    look_up(cache, [1], stamp=1)
    assert tables[0][slots, 0].tolist() == [1.0, 4.0]


def test_copies_are_empty_and_keep_the_capacity():
    cache = TypeCache(capacity=7)
    look_up(cache, [1, 2])
    for copied in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert len(copied) == 0
        assert copied.capacity == 7
