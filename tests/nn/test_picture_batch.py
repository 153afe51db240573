import copy
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spacy_torch.nn.picture_batch import PictureBatch, RowCache, make_decoded_batch, split_repeats


class Pictures:
    """Pictures of one pixel, whose red is their key, and a note of what was decoded."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def batch(self, *keys: int) -> PictureBatch:
        def read(places: Sequence[int]) -> torch.Tensor:
            self.decoded += [keys[place] for place in places]
            red = torch.tensor([keys[place] for place in places], dtype=torch.uint8)
            return red.view(-1, 1, 1, 1).expand(-1, 3, 1, 1)

        return PictureBatch(torch.tensor(keys, dtype=torch.int64), read)


def double(pixels: torch.Tensor) -> torch.Tensor:
    return 2.0 * pixels[:, :1, 0, 0]


def test_picture_that_is_taken_out_is_decoded_alone():
    pictures = Pictures()
    one = pictures.batch(3, 1, 2).take(1)
    assert one.keys.tolist() == [1]
    assert one.read_all()[:, 0, 0, 0].tolist() == [1]
    assert pictures.decoded == [1]


def test_decoded_pictures_are_found_by_their_places():
    pixels = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    batch = make_decoded_batch(torch.tensor([7, 8, 9]), pixels)
    assert batch.read([2, 0])[:, 0, 0, 0].tolist() == [2, 0]
    assert torch.equal(batch.read_all(), pixels)


def test_no_part_has_a_key_twice_and_the_order_stays():
    assert list(split_repeats(torch.tensor([5, 6, 5, 5, 7]))) == [[0, 1], [2], [3, 4]]
    assert list(split_repeats(torch.tensor([], dtype=torch.int64))) == []


def test_each_picture_is_decoded_and_computed_once():
    cache, pictures = RowCache(1), Pictures()
    found = cache.find(pictures.batch(3, 1, 3), double)
    assert found.tolist() == [[6.0], [2.0], [6.0]]
    assert cache.find(pictures.batch(1, 2), double).tolist() == [[2.0], [4.0]]
    assert sorted(pictures.decoded) == [1, 2, 3]


def test_the_oldest_are_forgotten_where_there_is_no_more_room():
    room_for_two = 2 * 4 / 2**20
    cache, pictures = RowCache(room_for_two), Pictures()
    for key in (1, 2, 3, 3, 2, 1):
        assert cache.find(pictures.batch(key), double).tolist() == [[2.0 * key]]
    assert pictures.decoded == [1, 2, 3, 1]
    assert len(cache) == 2


def test_no_room_keeps_nothing_and_gives_the_same():
    cache, pictures = RowCache(0), Pictures()
    for _ in range(2):
        assert cache.find(pictures.batch(1, 2), double).tolist() == [[2.0], [4.0]]
    assert pictures.decoded == [1, 2, 1, 2]
    assert len(cache) == 0


def test_no_pictures_give_no_rows():
    assert RowCache(1).find(Pictures().batch(), double).shape == (0, 1)


def test_a_copy_is_empty_and_so_is_what_was_cleared():
    cache, pictures = RowCache(1), Pictures()
    cache.find(pictures.batch(1, 2), double)
    assert [
        len(copied) for copied in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache)))
    ] == [
        0,
        0,
    ]
    cache.clear()
    assert cache.find(pictures.batch(1), lambda pixels: -double(pixels)).tolist() == [[-2.0]]


def test_threads_share_it():
    cache, pictures = RowCache(5 * 4 / 2**20), Pictures()
    batches = [pictures.batch(*range(start, start + 7)) for start in range(40)]
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda batch: cache.find(batch, double), batches)
        for batch, found in zip(batches, results, strict=True):
            assert found[:, 0].tolist() == [2.0 * key for key in batch.keys.tolist()]
    assert len(cache) == 5


def test_less_than_nothing_is_refused():
    with pytest.raises(ValueError, match="cache_mb must be at least 0, got -1"):
        RowCache(-1)
