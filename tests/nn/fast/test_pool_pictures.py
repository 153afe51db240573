from collections.abc import Sequence

import pytest
import torch
from torch import nn

from spacy_torch.nn.fast.pool_pictures import PoolPictures
from spacy_torch.nn.image_classifier import GridFeatures
from spacy_torch.nn.picture_batch import PictureBatch
from spacy_torch.nn.picture_sample import read_sample


class ToFloat(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float() - 127.0


def make_module(width: int) -> PoolPictures:
    features = GridFeatures(ToFloat(), width=3, grid=4)
    return PoolPictures(features, n_features=48, width=width, cache_mb=1)


def make_batch(pixels: torch.Tensor, *, first_key: int = 0) -> PictureBatch:
    def read(places: Sequence[int]) -> torch.Tensor:
        return pixels[list(places)]

    return PictureBatch(torch.arange(first_key, first_key + len(pixels)), read)


def draw_pictures(n: int, *, n_directions: int = 48) -> torch.Tensor:
    mixed = torch.randn(n, n_directions) @ torch.randn(n_directions, 48)
    return (127 + 20 * mixed).clamp(0, 255).to(torch.uint8).view(n, 3, 4, 4)


def cosines(rows: torch.Tensor) -> torch.Tensor:
    rows = nn.functional.normalize(rows, dim=1)
    return rows @ rows.T


def reference(pictures: torch.Tensor, pool: torch.Tensor, width: int) -> torch.Tensor:
    """The main directions by torch's own singular value decomposition."""
    rows, of_pool = (nn.functional.normalize(x.flatten(1).float() - 127) for x in (pictures, pool))
    _, _, directions = torch.linalg.svd(of_pool - of_pool.mean(0), full_matrices=False)
    return (rows - of_pool.mean(0)) @ directions[:width].T


def test_rows_are_the_main_directions_of_the_pool():
    pool, pictures = draw_pictures(200), draw_pictures(20)
    module = make_module(10)
    module.learn_pool([make_batch(pool[:150]), make_batch(pool[150:], first_key=150)])
    found = module(make_batch(pictures, first_key=1000))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(20))
    expected = cosines(reference(pictures, pool, 10))
    torch.testing.assert_close(cosines(found), expected, atol=1e-4, rtol=1e-4)


def test_directions_that_a_small_pool_lacks_are_random_and_keep_what_differs():
    pool, pictures = draw_pictures(3), draw_pictures(20)
    module = make_module(2000)
    for learn in (False, True):
        if learn:
            module.learn_pool([make_batch(pool)])
        found = module(make_batch(pictures, first_key=1000))
        rows = nn.functional.normalize(pictures.flatten(1).float() - 127)
        expected = cosines(rows - module.mean)
        assert float((cosines(found) - expected).abs().max()) < 0.15


def test_pool_of_one_picture_many_times_gives_finite_rows():
    module = make_module(4)
    module.learn_pool([make_batch(draw_pictures(1).expand(9, -1, -1, -1))])
    assert bool(module(make_batch(draw_pictures(5))).isfinite().all())


def test_rows_are_kept_until_the_pool_changes_them():
    module, batch = make_module(4), make_batch(draw_pictures(5))
    before = module(batch)
    assert torch.equal(module(batch), before)
    module.learn_pool([make_batch(draw_pictures(50))])
    assert not torch.allclose(module(batch), before)


def test_only_drawn_pictures_are_decoded():
    decoded = []

    def read(places: Sequence[int]) -> torch.Tensor:
        decoded.extend(places)
        return torch.zeros(len(places), 3, 1, 1, dtype=torch.uint8)

    batches = [PictureBatch(torch.arange(10), read) for _ in range(4)]
    generator = torch.Generator().manual_seed(0)
    assert len(read_sample(batches, 7, generator=generator)) == len(decoded) == 7
    assert len(read_sample(batches, 99, generator=generator)) == 40
    assert sorted(decoded[7:]) == sorted(list(range(10)) * 4)


def test_no_pictures_are_refused():
    with pytest.raises(ValueError, match="there are no pictures to learn from"):
        make_module(4).learn_pool([])
