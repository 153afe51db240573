import itertools

import pytest
import torch

from spacy_torch.nn import patch_dictionary
from spacy_torch.nn.patch_dictionary import CONTRAST, PatchDictionary
from spacy_torch.nn.picture_sample import sample_pictures

SIDE = 16


def make_pictures(n: int = 30) -> torch.Tensor:
    """Stripes of random direction, width and colour, and some noise."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    angles, waves = torch.rand(n, 1, 1) * 3.14, 0.5 + torch.rand(n, 1, 1)
    stripes = torch.sin(waves * (angles.cos() * x + angles.sin() * y))
    colours = torch.rand(n, 3, 1, 1) * 120
    pixels = 127 + colours * stripes.unsqueeze(1) + 5 * torch.randn(n, 3, SIDE, SIDE)
    return pixels.clamp(0, 255).to(torch.uint8)


def make_dictionary(**settings: float) -> PatchDictionary:
    return PatchDictionary(
        **{"width": 12, "patch": 4, "step": 1, "stride": 4, "threshold": 0.5, **settings}
    )


def describe_patch(dictionary: PatchDictionary, patch: torch.Tensor) -> torch.Tensor:
    """The codes of one patch (3, patch, patch), straight from the definition."""
    centred = patch.double() - patch.double().mean()
    normalized = centred / (centred.square().mean() + CONTRAST).sqrt()
    along = dictionary.filters.double().flatten(1) @ normalized.flatten()
    return (along - dictionary.offsets.double() - dictionary.threshold).clamp(min=0)


@pytest.mark.parametrize("step", [1, 2])
def test_convolution_gives_what_each_patch_on_its_own_does(step):
    dictionary = make_dictionary(step=step)
    pictures = make_pictures()
    dictionary.learn_pool([pictures])
    found = dictionary(pictures[:2])
    # A patch of 4 begins one pixel before the one it is about and ends two behind it.
    padded = torch.nn.functional.pad(pictures[:2].float(), (1, 2, 1, 2), mode="replicate")
    for picture, row, column in itertools.product(range(2), range(4), range(4)):
        codes = [
            describe_patch(dictionary, padded[picture, :, y : y + 4, x : x + 4])
            for y in range(4 * row, 4 * row + 4, step)
            for x in range(4 * column, 4 * column + 4, step)
        ]
        expected = (torch.stack(codes).mean(0) - dictionary.mean) / dictionary.deviation
        torch.testing.assert_close(
            found[picture, :, row, column].double(), expected, atol=1e-4, rtol=1e-4
        )


def test_channels_have_mean_0_and_variance_1_in_the_pool():
    dictionary, pictures = make_dictionary(), make_pictures()
    dictionary.learn_pool([pictures])
    channels = dictionary(pictures).transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(1), torch.ones(12), atol=1e-4, rtol=0)


def test_learned_patterns_lie_along_more_of_the_patches_than_random_ones():
    pictures = make_pictures(200)
    # Half of a pattern's own patches exceed a high threshold, where random ones rarely do.
    random, learned = make_dictionary(threshold=3.0), make_dictionary(threshold=3.0)
    learned.learn_pool([pictures])
    assert learned.mean.sum() > 10 * random(pictures).mean((0, 2, 3)).sum()


def test_same_pictures_give_the_same_dictionary_whatever_the_batches():
    pictures = make_pictures()
    first, second = make_dictionary(), make_dictionary()
    first.learn_pool([pictures])
    torch.manual_seed(99)
    second.learn_pool(iter(pictures.split(7)))
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_pictures_of_one_colour_are_nothing_special():
    dictionary = make_dictionary()
    dictionary.learn_pool([torch.full((3, 3, SIDE, SIDE), 200, dtype=torch.uint8)])
    found = dictionary(make_pictures(2))
    assert bool(found.isfinite().all())


def test_no_more_than_a_part_of_the_codes_is_in_memory(monkeypatch):
    dictionary, pictures = make_dictionary(), make_pictures()
    dictionary.learn_pool([pictures])
    expected = dictionary(pictures)
    monkeypatch.setattr(patch_dictionary, "CHUNK", 5000)
    torch.testing.assert_close(dictionary(pictures), expected)


@pytest.mark.parametrize(("side", "cells"), [(16, 4), (17, 5), (4, 1)])
def test_any_size_is_read_and_a_cell_that_is_begun_counts(side, cells):
    pixels = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    assert make_dictionary()(pixels).shape == (2, 12, cells, cells)


def test_impossible_settings_and_pools_are_refused():
    with pytest.raises(ValueError, match="width, patch, step and stride must be at least 1"):
        make_dictionary(patch=0)
    with pytest.raises(ValueError, match="stride must be a multiple of step, got 4 and 3"):
        make_dictionary(step=3)
    with pytest.raises(ValueError, match="there are no pictures to learn from"):
        make_dictionary().learn_pool([])
    with pytest.raises(ValueError, match=r"\(3, 3\) pixels are smaller than a patch of 4"):
        make_dictionary().learn_pool([torch.zeros(1, 3, 3, 3, dtype=torch.uint8)])


def test_every_picture_of_a_stream_has_the_same_chance_to_be_in_the_sample():
    numbers = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 3, 1, 1)
    generator = torch.Generator().manual_seed(1)
    counts = torch.zeros(40)
    for _ in range(400):
        kept = sample_pictures(numbers.split(7), 10, generator=generator)[:, 0, 0, 0].long()
        assert len(kept.unique()) == 10
        counts[kept] += 1
    # Each is drawn 100 times on average, with a deviation of 8.7.
    assert counts.min() > 65
    assert counts.max() < 135
    assert len(sample_pictures(numbers.split(7), 99, generator=generator)) == 40
