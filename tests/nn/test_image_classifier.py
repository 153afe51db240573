from collections.abc import Sequence

import pytest
import torch
from torch import nn

from spacy_torch.nn.augmentation import Augmentation
from spacy_torch.nn.image_classifier import GridFeatures, ImageClassifier, PictureFeatures
from spacy_torch.nn.picture_batch import PictureBatch

PIXELS = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)


class Counter(nn.Module):
    """Passes the pixels on and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.n_encoded = 0
        self.n_pool = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.n_encoded += len(pixels)
        return pixels * self.weight

    def learn_pool(self, batches) -> None:
        self.n_pool += sum(len(batch) for batch in batches)
        self.weight.data.fill_(2.0)


class Reader:
    def __init__(self) -> None:
        self.n_read = 0

    def __call__(self, places: Sequence[int]) -> torch.Tensor:
        self.n_read += len(places)
        return PIXELS[list(places)]

    def batch(self) -> PictureBatch:
        return PictureBatch(torch.arange(len(PIXELS)), self)


def make_features(*, is_frozen: bool, flip: bool = False, grid: int = 2) -> PictureFeatures:
    return PictureFeatures(
        GridFeatures(Counter(), width=3, grid=grid),
        is_frozen=is_frozen,
        augmentation=Augmentation(flip=flip),
        cache_mb=1,
    )


def test_a_cell_of_the_grid_is_the_mean_of_its_part_of_the_map():
    found = GridFeatures(nn.Identity(), width=3, grid=2)(PIXELS.float())
    quarters = [PIXELS[:, :, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    expected = torch.stack([part.float().mean((2, 3)) for part in quarters], dim=2)
    torch.testing.assert_close(found, expected.flatten(1))


def test_frozen_features_are_computed_once():
    features, reader = make_features(is_frozen=True).train(), Reader()
    first, again = features(reader.batch()), features.eval()(reader.batch())
    assert torch.equal(first, again)
    assert (reader.n_read, features.features.encoder.n_encoded) == (6, 6)


def test_pictures_of_an_encoder_that_learns_are_decoded_once_and_encoded_every_time():
    features, reader = make_features(is_frozen=False).train(), Reader()
    for _ in range(3):
        assert features(reader.batch()).requires_grad
    assert (reader.n_read, features.features.encoder.n_encoded) == (6, 18)


def test_predicting_with_an_encoder_that_learns_keeps_nothing():
    features, reader = make_features(is_frozen=False).eval(), Reader()
    features(reader.batch())
    assert len(features.cache) == 0


@pytest.mark.parametrize("is_frozen", [True, False])
def test_only_training_sees_other_views(is_frozen):
    features, reader = make_features(is_frozen=is_frozen, flip=True, grid=1), Reader()
    plain = make_features(is_frozen=is_frozen, grid=8)(reader.batch())
    features.features.grid = 8
    torch.testing.assert_close(features.eval()(reader.batch()), plain)
    views = [features.train()(reader.batch()) for _ in range(5)]
    assert any(not torch.equal(view, plain) for view in views)
    flipped = plain.view(6, 3, 8, 8).flip(3).flatten(1)
    for view in views:
        for row, before, after in zip(view, plain, flipped, strict=True):
            assert torch.equal(row, before) or torch.equal(row, after)


def test_what_was_kept_before_the_pool_was_seen_is_forgotten():
    features, reader = make_features(is_frozen=True), Reader()
    before = features(reader.batch())
    features.learn_pool([reader.batch()])
    assert features.features.encoder.n_pool == 6
    torch.testing.assert_close(features(reader.batch()), 2 * before)


def test_untrained_classifier_prefers_no_label():
    features = make_features(is_frozen=False)
    classifier = ImageClassifier(features, n_features=12, n_labels=5, dropout=nn.Identity())
    assert torch.equal(classifier(Reader().batch()), torch.zeros(6, 5))


def test_no_pictures_give_no_rows():
    assert GridFeatures(nn.Identity(), width=3, grid=2)(PIXELS[:0].float()).shape == (0, 12)


def test_grid_without_cells_is_refused():
    with pytest.raises(ValueError, match="grid must be at least 1, got 0"):
        GridFeatures(nn.Identity(), width=3, grid=0)
