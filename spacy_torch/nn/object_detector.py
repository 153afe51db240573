"""A fast detector and a slow one that take turns to be trusted: the module of a component."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.box_ops import box_iou
from spacy_torch.nn.box_windows import BoxWindows, move_edges, read_box_windows
from spacy_torch.nn.detection_evidence import Candidates, Evidence
from spacy_torch.nn.heatmap_detector import HeatmapDetector, sides_to_boxes
from spacy_torch.nn.heatmap_loss import Heatmap, MovedHeatmap
from spacy_torch.nn.linear_algebra import unique
from spacy_torch.nn.picture_batch import PictureBatch, RowCache
from spacy_torch.nn.picture_jitter import Flips, jitter_pictures
from spacy_torch.nn.whitened_lda import NEVER, LinearLabels, WhitenedLDA
from spacy_torch.nn.window_pyramid import CELLS, read_layers, score_windows, take_windows
from spacy_torch.nn.window_sizes import default_sizes

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# How many windows, and points of the heatmap, of a picture may become boxes.
MOST_WINDOWS = 600
MOST_POINTS = 200
# A box found by one half is compared with windows of the other that cover it so far.
SAME_PLACE = 0.5
# What its logit loses on the way, in proportion to what the two do not share.
BESIDE = 2.0
# The logit of a half that has not found anything in the picture.
NOTHING_THERE = -6.0
# Of a picture of the pool so many windows are taken for the background.
POOL_WINDOWS = 600
MOST_POOL_PICTURES = 100
# One picture in so many is never shown to the slow half, but says how good it is.
HELD_OUT = 8
# The fast half is tested on so many pictures that came last; again when there are this many
# times as many pictures as before.
N_TESTS = 12
GROWTH = 1.3


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


class _Test(NamedTuple):
    """A picture whose objects are all known, and they."""

    pixels: Tensor
    answered: AnsweredBoxes


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
        self._tests: dict[int, _Test] = {}
        self._due: set[int] = set()
        self._complete: set[int] = set()
        self._n_tested = 0
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
        fresh: dict[str, Any] = {"_tests": {}, "_due": set(), "_complete": set(), "_n_tested": 0}
        return {**super().__getstate__(), **fresh}

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
        for places in _without_repeats(batch.keys):
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
        for key in map(int, pictures):
            self._tests.pop(key, None)
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
                one = PictureBatch(key[None], _Part(batch, place))
                feature_map = self._maps.find(one, self._read_maps)[0]
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
                self._tests[int(key)] = _Test(_Part(batch, place)([0]).to(key.device), answered)
                self._due.add(int(key))

    def _read_maps(self, pixels: Tensor) -> Float[Tensor, "batch width row column"]:
        features: Tensor = self.encoder(pixels)
        return (features - self.floor.view(-1, 1, 1)).clamp(min=0)

    def _draw_background(self, item: tuple[int, Tensor]) -> Float[Tensor, "window feature"]:
        """Windows of a picture, of all sizes and places alike."""
        number, pixels = item
        generator = torch.Generator().manual_seed(number)
        feature_map = self._read_maps(pixels[None])
        sizes = default_sizes(pixels.shape[-1])
        layers = read_layers(feature_map, sizes, stride=self.stride)
        counts = [layer.counts[0] * layer.counts[1] for layer in layers]
        rows: list[Tensor] = []
        for layer, count in zip(layers, counts, strict=True):
            n_windows = 1 + POOL_WINDOWS * count // sum(counts)
            windows = torch.randint(count, (n_windows,), generator=generator)
            rows.append(take_windows(layer, windows.to(pixels.device)))
        return torch.cat(rows)

    # Finding ----------------------------------------------------------------------------

    def _find_one(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        candidates = self._propose(
            pixels,
            self._read_maps(pixels[None]),
            self.fast.labels,
            use_slow=self.evidence.trusts_slow,
        )
        return self.evidence.find(candidates, overlap=self.overlap)

    def _propose(
        self, pixels: Tensor, feature_map: Tensor, labels: LinearLabels, *, use_slow: bool
    ) -> Candidates:
        """What either half would find, with the logits of both."""
        windows, window_labels, fast = self._propose_windows(feature_map, labels)
        windows = windows.clamp(0, pixels.shape[-1])
        if not use_slow or self.slow is None:
            is_slow = torch.zeros_like(window_labels, dtype=torch.bool)
            return Candidates(windows, window_labels, fast, torch.zeros_like(fast), is_slow)
        heatmap: Heatmap = self.slow(pixels[None])
        points, point_labels, slow = _propose_points(heatmap, stride=self.slow.stride)
        points = points.clamp(0, pixels.shape[-1])
        overlaps = box_iou(windows, points) * (window_labels[:, None] == point_labels)
        return Candidates(
            torch.cat([windows, points]),
            torch.cat([window_labels, point_labels]),
            torch.cat([fast, _ask_others(overlaps.T, fast)]),
            torch.cat([_ask_others(overlaps, slow), slow]),
            torch.arange(len(windows) + len(points), device=windows.device) >= len(windows),
        )

    def _propose_windows(
        self, feature_map: Tensor, labels: LinearLabels
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best windows, with their edges where the regression puts them."""
        layers = read_layers(feature_map, self.fast.sizes_in_use(), stride=self.stride)
        known = (labels.bias > NEVER).nonzero()[:, 0]
        if not layers or not len(known):
            nothing = feature_map.new_zeros(0)
            return nothing.view(0, 4), nothing.long(), nothing
        edges = self.fast.edges
        weight = torch.cat([labels.weight[known].to(edges), edges[:, :-1]])
        bias = torch.cat([labels.bias[known].to(edges), edges[:, -1]])
        values = torch.cat([score_windows(layer, weight, bias)[0] for layer in layers])
        scores, offsets = values[:, : len(known)], values[:, len(known) :]
        best, places = scores.flatten().topk(min(MOST_WINDOWS, scores.numel()))
        rows = places // len(known)
        windows = torch.cat([layer.boxes() for layer in layers])[rows]
        return move_edges(windows, offsets[rows]), known[places % len(known)], best

    def _run_tests(self) -> None:
        """See what is found in complete pictures as if the fast half had not learned them.

        Those that came last are tested again whenever there are many more than there were.
        """
        n_pictures = len(unique(self.fast.answers.pictures)[0])
        if n_pictures >= GROWTH * self._n_tested:
            self._n_tested = n_pictures
            self._due.update(self._tests)
        for key in self._due:
            self._run_test(key, *self._tests[key])
        self._due.clear()
        for key in list(self._tests)[:-N_TESTS]:
            del self._tests[key]
            self.evidence.forget_alone(key)

    def _run_test(self, key: int, pixels: Tensor, answered: AnsweredBoxes) -> None:
        labels = self.fast.fit_labels(without=key)
        if not bool((labels.bias > NEVER).any()):
            return
        keys = torch.tensor([key], device=pixels.device)
        feature_map = self._maps.find(PictureBatch(keys, _Decoded(pixels)), self._read_maps)
        use_slow = self.slow is not None and bool(is_held_out(keys))
        candidates = self._propose(pixels[0], feature_map, labels, use_slow=use_slow)
        accepted = answered.verdicts == 1
        self.evidence.take(
            key,
            candidates,
            truth=answered.boxes[accepted],
            labels=answered.labels[accepted],
            with_slow=use_slow,
            overlap=self.overlap,
        )


class _Decoded:
    """Gives a picture that was decoded before."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __call__(self, places: Sequence[int]) -> Tensor:
        return self.pixels


class _Part:
    """Reads one picture of a batch."""

    def __init__(self, batch: PictureBatch, place: int) -> None:
        self.batch = batch
        self.place = place

    def __call__(self, places: Sequence[int]) -> Tensor:
        return self.batch.read([self.place])


def _without_repeats(keys: Int[Tensor, " batch"]) -> Iterator[list[int]]:
    """The places of a batch, in order and in parts in which no key is twice: one part as a rule."""
    part: dict[int, int] = {}
    for place, key in enumerate(map(int, keys)):
        if key in part:
            yield list(part.values())
            part = {}
        part[key] = place
    if part:
        yield list(part.values())


def is_held_out(keys: Int[Tensor, " picture"]) -> Tensor:
    """Whether the slow half never learns from a picture."""
    return keys % HELD_OUT == 0


def _ask_others(
    overlaps: Float[Tensor, "box other"], logits: Float[Tensor, " other"]
) -> Float[Tensor, " box"]:
    """What the other half says of each box: its best box there, less for one that is beside.

    Where it has found nothing, what it says of the least likely of its boxes.
    """
    if not len(logits):
        return overlaps.new_full((len(overlaps),), NOTHING_THERE)
    there = torch.where(overlaps > SAME_PLACE, logits - BESIDE * (1 - overlaps), -torch.inf)
    return torch.maximum(there.amax(1), logits.min())


def _max_near(centres: Float[Tensor, "label row column"]) -> Tensor:
    """The largest logit at and beside each point."""
    return F.max_pool2d(centres[None], 3, stride=1, padding=1)[0]


def _propose_points(heatmap: Heatmap, *, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest points of the heatmap of one picture, as boxes, with labels and logits."""
    centres = heatmap.centres[0]
    label, row, column = (centres == _max_near(centres)).nonzero(as_tuple=True)
    logits, best = centres[label, row, column].topk(min(MOST_POINTS, len(label)))
    boxes = sides_to_boxes(heatmap.sides, stride=stride)[0]
    return boxes[:, row[best], column[best]].T, label[best], logits
