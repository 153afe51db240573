"""Digits in clutter: pictures in which some digits are to be found and others are not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_torch.features.boxes import Box, set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture

SIDE = 128
HEIGHTS = (20, 46)
# Digits of the pool and of the test are from different pages of the collection.
N_POOL_DIGITS = 1200


class Scene(NamedTuple):
    """A picture, and the digits to be found in it: label, left, top, width, height."""

    pixels: NDArray[np.uint8]
    boxes: list[tuple[str, int, int, int, int]]

    def to_example(self, vocab: Vocab) -> Example:
        """The same for a component."""
        picture = Picture.from_source(self.pixels)
        example = Example(make_image_doc(vocab, picture), make_image_doc(vocab, picture))
        set_boxes(example.reference, [Box(*box) for box in self.boxes])
        return example


def make_scenes(n_scenes: int, *, seed: int, is_test: bool) -> list[Scene]:
    """Pictures of 128 by 128 pixels with four to seven digits on a blurred background.

    Three digits, drawn by the seed, are to be found; half of those in the pictures are others.
    They are 20 to 46 pixels high, about three quarters as wide, and do not touch.
    """
    targets = np.random.default_rng(seed).permutation(10)[:3].tolist()
    generator = np.random.default_rng([seed, int(is_test)])
    digits = load_digits()
    part = slice(N_POOL_DIGITS, None) if is_test else slice(N_POOL_DIGITS)
    images, names = digits.images[part], digits.target[part]
    return [_draw_scene(images, names, targets, generator) for _ in range(n_scenes)]


def _draw_scene(
    images: NDArray[np.float64],
    names: NDArray[np.int64],
    targets: list[int],
    generator: np.random.Generator,
) -> Scene:
    canvas = 100 + 15 * _draw_background(generator)
    others = [digit for digit in range(10) if digit not in targets]
    boxes: list[tuple[str, int, int, int, int]] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(generator.integers(4, 8)):
        digit = generator.choice(targets if generator.random() < 0.5 else others)
        glyph = _cut_out(images[generator.choice(np.flatnonzero(names == digit))])
        height = int(generator.integers(HEIGHTS[0], HEIGHTS[1] + 1))
        width = round(height * 0.75 * generator.uniform(0.85, 1.15))
        for _ in range(30):  # a digit for which no room is found is left out
            x, y = (int(generator.integers(0, SIDE - side)) for side in (width, height))
            around = slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2)
            if not taken[around].any():
                break
        else:
            continue
        taken[y : y + height, x : x + width] = True
        ink = np.asarray(Image.fromarray(glyph).resize((width, height), Image.Resampling.BICUBIC))
        contrast = generator.uniform(80, 140)
        canvas[y : y + height, x : x + width] += contrast * ink.clip(0, 1)
        if digit in targets:
            boxes.append((str(digit), x, y, width, height))
    noise = generator.normal(scale=6, size=canvas.shape)
    return Scene((canvas + noise).clip(0, 255).astype(np.uint8), boxes)


def _draw_background(generator: np.random.Generator) -> NDArray[np.float64]:
    """Clouds of three sizes, of mean 0 and deviation 1."""
    clouds = np.zeros((SIDE, SIDE))
    for n, height in ((8, 1.0), (24, 1.0), (64, 0.5)):
        grid = Image.fromarray(generator.normal(size=(n, n)).astype(np.float32))
        clouds += height * np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return (clouds - clouds.mean()) / clouds.std()


def _cut_out(image: NDArray[np.float64]) -> NDArray[np.float32]:
    """A digit without its margins, its ink from 0 to 1."""
    rows, columns = (np.flatnonzero(image.max(axis=axis) > 3) for axis in (1, 0))
    glyph = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (glyph / 16).astype(np.float32)
