"""A fast detector and a slow one that take turns to be trusted: the module of a component."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spacy_torch.nn.box_candidates import propose_boxes
from spacy_torch.nn.box_windows import BoxWindows, read_box_windows
from spacy_torch.nn.detection_evidence import Evidence
from spacy_torch.nn.heatmap_detector import HeatmapDetector
from spacy_torch.nn.heatmap_loss import MovedHeatmap
from spacy_torch.nn.known_pictures import KnownPicture, KnownPictures, is_held_out
from spacy_torch.nn.linear_algebra import unique
from spacy_torch.nn.picture_batch import PictureBatch, RowCache, make_decoded_batch, split_repeats
from spacy_torch.nn.picture_jitter import Flips, jitter_pictures
from spacy_torch.nn.whitened_lda import NEVER, WhitenedLDA
from spacy_torch.nn.window_pyramid import CELLS, draw_windows
from spacy_torch.nn.window_sizes import default_sizes

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Of a picture of the pool so many windows are taken for the background.
POOL_WINDOWS = 600
MOST_POOL_PICTURES = 100


class Found(NamedTuple):
    """The objects found in a batch, those of each picture together, the likeliest first.

    Attributes:
        boxes: in pixels of the square.
        scores: probabilities.
        labels: of each.
        lengths: how many are in each picture.
    """

    boxes: Float[Tensor, "box 4"]
    scores: Float[Tensor, " box"]
    labels: Int[Tensor, " box"]
    lengths: Int[Tensor, " batch"]


class AnsweredBoxes(NamedTuple):
    """What is known of the boxes of one picture.

    Attributes:
        keys: one for each box, different in all pictures.
        boxes: in pixels of the square, within it.
        labels: of each.
        verdicts: whether it holds an object of its label, 1 or 0.
        is_complete: there are no objects but those of the accepted boxes.
    """

    keys: Int[Tensor, " box"]
    boxes: Float[Tensor, "box 4"]
    labels: Int[Tensor, " box"]
    verdicts: Int[Tensor, " box"]
    is_complete: bool


class ObjectDetector(nn.Module):
    """Linear discriminants on windows of a frozen map, and a heatmap that learns by gradient.

    The fast half knows an object from its first box on. The slow one needs many pictures and
    passes, and then sees more. Boxes that either has found get the logits of both, mixed by a
    share that rests on evidence: how well several shares do, in average precision, on
    pictures that the slow half never learns from and that the fast half is asked about as if
    it had not seen them. Without evidence the slow half has no say.

    Args:
        encoder: maps pixels to features (batch, width, row, column) that never change.
        width: the channels of these features.
        stride: pixels per point of the map.
        slow: the heatmap detector; None for the fast half alone.
        overlap: above which a likelier box of the same label suppresses another.
        jitter: how far pictures are moved and resized, at random, for the slow half.
        flips: whether they are mirrored, too.
        cache_mb: how much is kept of the maps of the pictures that were answered last.
        n_labels: the number of labels.
        n_boxes: the answered boxes, stored with the weights.
    """

    floor: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        stride: int,
        slow: HeatmapDetector | None,
        n_labels: int,
        overlap: float = 0.45,
        jitter: float = 0.2,
        flips: Flips = "none",
        cache_mb: float = 64.0,
        n_boxes: int = 0,
    ) -> None:
        super().__init__()
        self._maps = RowCache(cache_mb)
        self._tests = KnownPictures()
        self._complete: set[int] = set()
        self.encoder = encoder
        self.stride = stride
        self.overlap = overlap
        self.jitter = jitter
        self.flips: Flips = flips
        self.register_buffer("floor", torch.zeros(width))
        self.fast = WhitenedLDA(
            n_features=width * CELLS[0] * CELLS[1], n_labels=n_labels, n_boxes=n_boxes
        )
        self.slow = slow
        self.evidence = Evidence(n_labels=n_labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tests": KnownPictures(), "_complete": set()}

    def grown_sizes(self) -> dict[str, int]:
        """The sizes that answers have changed since the module was built."""
        return {"n_boxes": len(self.fast.answers)}

    def forward(self, batch: PictureBatch) -> Found | MovedHeatmap:
        """Find the objects of a batch or, in training, read its moved pictures."""
        if not self.training:
            return self.find(batch)
        assert self.slow is not None
        pixels, moved = jitter_pictures(batch.read_all(), extent=self.jitter, flips=self.flips)
        return MovedHeatmap(self.slow(pixels), moved, self.slow.stride)

    @torch.no_grad()
    def find(self, batch: PictureBatch) -> Found:
        """Find the objects of a batch."""
        found = [self._find_one(pixels) for pixels in batch.read_all()]
        lengths = torch.tensor([len(boxes) for boxes, _, _ in found], device=batch.keys.device)
        if not found:
            nothing = self.floor.new_zeros(0)
            return Found(nothing.view(0, 4), nothing, nothing.long(), lengths.long())
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Found(boxes, scores, labels, lengths)

    @torch.no_grad()
    def learn_pool(self, batches: Iterable[PictureBatch]) -> None:
        """Learn the encoder's map and the background from pictures without annotation.

        Raises:
            ValueError: there are no pictures.
        """
        pictures: list[Tensor] = []
        for batch in batches:
            places = range(min(len(batch.keys), MOST_POOL_PICTURES - len(pictures)))
            pictures += list(batch.read(places).to(batch.keys.device))
            if len(pictures) >= MOST_POOL_PICTURES:
                break
        if not pictures:
            raise ValueError(
                "there are no pictures to learn from: look whether the pool, or the training "
                "corpus, is empty"
            )
        learn = getattr(self.encoder, "learn_pool", None)
        if learn is not None:
            learn(torch.stack(pictures[at : at + 16]) for at in range(0, len(pictures), 16))
        maps = self.encoder(torch.stack(pictures[:16]))
        self.floor.copy_(maps.amin((0, 2, 3)))
        self._maps.clear()
        self.fast.learn_background(map(self._draw_background, enumerate(pictures)))

    @torch.no_grad()
    def answer(self, batch: PictureBatch, answers: list[AnsweredBoxes]) -> None:
        """Let the fast half take in what is known, and see how far each half can be trusted.

        A complete picture that is answered anew replaces what was answered of it.
        """
        for places in split_repeats(batch.keys):
            self._take_in(batch, places, [answers[place] for place in places])
        self._run_tests()
        self.evidence.weigh()

    def forget(self, pictures: Int[Tensor, " picture"]) -> None:
        """Take back from the fast half all that was answered of some pictures, given their keys.

        What the slow half has learned from them it keeps.
        """
        self.fast.forget(torch.isin(self.fast.answers.pictures, pictures))
        self.evidence.forget(pictures)
        self._complete.difference_update(map(int, pictures))
        self._tests.remove(map(int, pictures))
        self.evidence.weigh()

    def _take_in(
        self, batch: PictureBatch, places: list[int], answers: list[AnsweredBoxes]
    ) -> None:
        """Learn the boxes of pictures, no two of them the same, and note which to test."""
        known = self.fast.answers
        gone = torch.zeros_like(known.keys, dtype=torch.bool)
        changed: set[int] = set()
        added: list[tuple[Tensor, AnsweredBoxes, Tensor, BoxWindows]] = []
        for place, answered in zip(places, answers, strict=True):
            key = batch.keys[place]
            if answered.is_complete:
                old = (known.pictures == key) & ~torch.isin(known.keys, answered.keys)
                gone |= old
                if bool(old.any()) or int(key) not in self._complete:
                    changed.add(place)
                    self._complete.add(int(key))
            new = ~torch.isin(answered.keys, known.keys)
            if bool(new.any()):
                changed.add(place)
                feature_map = self._maps.find(batch.take(place), self._read_maps)[0]
                windows = read_box_windows(feature_map, answered.boxes[new], stride=self.stride)
                added.append((key, answered, new, windows))
        self.fast.forget(gone)
        if added:
            boxes = torch.cat([answered.boxes[new] for _, answered, new, _ in added])
            self.fast.answer(
                torch.cat([answered.keys[new] for _, answered, new, _ in added]),
                pictures=torch.cat([key.expand(int(new.sum())) for key, _, new, _ in added]),
                labels=torch.cat([answered.labels[new] for _, answered, new, _ in added]),
                verdicts=torch.cat([answered.verdicts[new] for _, answered, new, _ in added]),
                sizes=(boxes[:, 2:] - boxes[:, :2]).flip(1),
                windows=BoxWindows(
                    torch.cat([windows.rows for *_, windows in added]),
                    torch.cat([windows.offsets for *_, windows in added]),
                ),
            )
        for place, answered in zip(places, answers, strict=True):
            key = batch.keys[place]
            tests_slow = self.slow is not None and bool(is_held_out(key))
            if answered.is_complete and (place in changed or tests_slow):
                accepted = answered.verdicts == 1
                known_picture = KnownPicture(
                    batch.take(place).read_all(),
                    answered.boxes[accepted],
                    answered.labels[accepted],
                )
                self._tests.put(int(key), known_picture)

    def _read_maps(self, pixels: Tensor) -> Float[Tensor, "batch width row column"]:
        features: Tensor = self.encoder(pixels)
        return (features - self.floor.view(-1, 1, 1)).clamp(min=0)

    def _draw_background(self, item: tuple[int, Tensor]) -> Float[Tensor, "window feature"]:
        """Windows of a picture, of all sizes and places alike."""
        number, pixels = item
        return draw_windows(
            self._read_maps(pixels[None]),
            default_sizes(pixels.shape[-1]),
            stride=self.stride,
            n_windows=POOL_WINDOWS,
            seed=number,
        )

    def _find_one(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        candidates = propose_boxes(
            self.fast,
            self.slow if self.evidence.trusts_slow else None,
            labels=self.fast.labels,
            pixels=pixels,
            feature_map=self._read_maps(pixels[None]),
            stride=self.stride,
        )
        return self.evidence.find(candidates, overlap=self.overlap)

    def _run_tests(self) -> None:
        """See what is found in complete pictures as if the fast half had not learned them."""
        n_pictures = len(unique(self.fast.answers.pictures)[0])
        for key, picture in self._tests.take_due(n_pictures):
            self._run_test(key, picture)
        for key in self._tests.drop_old():
            self.evidence.forget_alone(key)

    def _run_test(self, key: int, picture: KnownPicture) -> None:
        labels = self.fast.fit_labels(without=key)
        if not bool((labels.bias > NEVER).any()):
            return
        pixels = picture.pixels
        keys = torch.tensor([key], device=pixels.device)
        feature_map = self._maps.find(make_decoded_batch(keys, pixels), self._read_maps)
        use_slow = self.slow is not None and bool(is_held_out(keys))
        candidates = propose_boxes(
            self.fast,
            self.slow if use_slow else None,
            labels=labels,
            pixels=pixels[0],
            feature_map=feature_map,
            stride=self.stride,
        )
        self.evidence.take(
            key,
            candidates,
            truth=picture.boxes,
            labels=picture.labels,
            with_slow=use_slow,
            overlap=self.overlap,
        )
