"""How far the halves of a detector can be trusted, from pictures that they had not learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_torch.nn.box_candidates import Candidates
from spacy_torch.nn.box_ops import box_iou, suppress
from spacy_torch.nn.linear_algebra import solve

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# How much of the slow half's logits may count.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# From this overlap on, a box is where the object is.
RIGHT_PLACE = 0.5
# So many standard errors are taken off a gain in average precision before it counts, and fewer
# pictures than this have none.
DOUBT = 1.25
FEWEST_PICTURES = 3
# The share is at most n / (n + this) after n pictures: a half that was lucky in a few of them
# cannot push the other one out.
CAUTION = 8
# Of a tested picture so many boxes are looked at.
MOST_BOXES = 100
# What is believed of scales and shifts of logits before there is evidence, as deviations.
SCALE_DEVIATION = 0.5
SHIFT_DEVIATION = 2.0
ROUNDS = 15


class _Outcome(NamedTuple):
    """What became of the boxes of one picture: likeliest first."""

    logits: Tensor
    labels: Tensor
    is_right: Tensor


class Evidence(nn.Module):
    """Scales and shifts that make probabilities of logits, and the share of the slow half.

    Both are fitted on boxes found in complete pictures as if these had not been learned. The
    share is that whose gain in average precision over the fast half alone is largest after its
    standard error was taken off, of those that so many pictures allow: little evidence cannot
    bring in a bad half. The
    evidence itself is not saved with the weights, what was concluded from it is.

    Args:
        n_labels: the number of labels.
    """

    share: Tensor
    fast: Tensor
    slow: Tensor
    mixed: Tensor

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        self.register_buffer("share", torch.zeros(()))
        # A scale, and a shift per label.
        for name in ("fast", "slow", "mixed"):
            self.register_buffer(name, F.pad(torch.zeros(n_labels), (1, 0), value=1.0))
        self._alone: dict[int, _Outcome] = {}
        self._shared: dict[int, list[_Outcome]] = {}
        self._truths: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_alone": {}, "_shared": {}, "_truths": {}}

    @property
    def trusts_slow(self) -> bool:
        """Whether the slow half has a say."""
        return float(self.share) > 0

    def find(
        self, candidates: Candidates, *, overlap: float
    ) -> tuple[Float[Tensor, "box 4"], Float[Tensor, " box"], Int[Tensor, " box"]]:
        """The boxes that no likelier one covers, their probabilities and labels."""
        kept, logits = self._select(candidates, float(self.share), overlap=overlap)
        labels = candidates.labels[kept]
        if self.trusts_slow:
            logits = _calibrate(self.mixed, logits, labels)
        return candidates.boxes[kept], logits.sigmoid(), labels

    @torch.no_grad()
    def take(
        self,
        picture: int,
        candidates: Candidates,
        *,
        truth: Float[Tensor, "object 4"],
        labels: Int[Tensor, " object"],
        with_slow: bool,
        overlap: float,
    ) -> None:
        """Note what was found in a picture, in place of what was noted of it before.

        Args:
            picture: its key.
            truth: the boxes of all its objects.
            labels: of these.
            with_slow: the picture is one that the slow half does not learn from.
        """
        outcomes = [
            self._judge(candidates, share, truth, labels, overlap=overlap)
            for share in (SHARES if with_slow else SHARES[:1])
        ]
        self._truths[picture] = torch.bincount(labels, minlength=len(self.fast) - 1)
        self._shared.pop(picture, None)
        # To be calibrated, the raw logits of the fast half.
        kept, _ = self._select(candidates, 0.0, overlap=overlap)
        raw = candidates.fast[kept[:MOST_BOXES]]
        self._alone[picture] = outcomes[0]._replace(logits=raw)
        if with_slow:
            self._shared[picture] = outcomes

    def forget_alone(self, picture: int) -> None:
        """Drop what was noted of a picture, unless it says something of both halves."""
        if picture not in self._shared:
            self._alone.pop(picture, None)

    def forget(self, pictures: Int[Tensor, " picture"]) -> None:
        """Drop what was noted of pictures, given their keys."""
        for picture in map(int, pictures):
            for noted in (self._alone, self._shared, self._truths):
                noted.pop(picture, None)

    @torch.no_grad()
    def weigh(self) -> None:
        """Draw conclusions from what is noted; without anything, they stay as they are."""
        if self._alone:
            self.fast = _fit(list(self._alone.values()), self.fast)
        if len(self._shared) < FEWEST_PICTURES:
            return
        truths = torch.stack([self._truths[picture] for picture in self._shared])
        columns = [list(outcomes) for outcomes in zip(*self._shared.values(), strict=True)]
        scores = torch.stack([average_precisions(outcomes, truths) for outcomes in columns])
        gains = scores - scores[0]  # share, choice of pictures
        surest = gains[:, 0] - DOUBT * _jackknife_error(gains[:, 1:])
        most = len(truths) / (len(truths) + CAUTION)
        surest = surest[: sum(share <= most for share in SHARES)]
        best = int(surest.argmax())  # the smallest of those that are alike
        self.share.fill_(SHARES[best])
        self.mixed = _fit(columns[best], self.mixed)

    def _select(
        self, candidates: Candidates, share: float, *, overlap: float
    ) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
        """The candidates that no better one covers, and their mixed logits."""
        logits = (1 - share) * _calibrate(self.fast, candidates.fast, candidates.labels)
        logits = logits + share * candidates.slow
        rows = torch.arange(len(logits), device=logits.device)
        if share in (0.0, 1.0):  # a half on its own proposes on its own
            rows = rows[candidates.is_slow == (share == 1.0)]
        kept = rows[
            suppress(
                candidates.boxes[rows],
                logits[rows],
                overlap=overlap,
                groups=candidates.labels[rows],
            )
        ]
        return kept, logits[kept]

    def _judge(
        self, candidates: Candidates, share: float, truth: Tensor, labels: Tensor, *, overlap: float
    ) -> _Outcome:
        kept, logits = self._select(candidates, share, overlap=overlap)
        kept, logits = kept[:MOST_BOXES], logits[:MOST_BOXES]
        found = candidates.labels[kept]
        return _Outcome(logits, found, is_right(candidates.boxes[kept], found, truth, labels))


def is_right(
    boxes: Float[Tensor, "box 4"],
    labels: Int[Tensor, " box"],
    truth: Float[Tensor, "object 4"],
    truth_labels: Int[Tensor, " object"],
) -> Bool[Tensor, " box"]:
    """Which boxes are the first, from the best on, at the place of an object of their label."""
    if not len(truth) or not len(boxes):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    overlaps = box_iou(boxes, truth) * (labels[:, None] == truth_labels)
    best, objects = overlaps.max(1)
    hits = F.one_hot(objects, len(truth)).bool() & (best >= RIGHT_PLACE).unsqueeze(1)
    return (hits & (hits.cumsum(0) == 1)).any(1)


def average_precisions(
    outcomes: list[_Outcome], truths: Int[Tensor, "picture label"]
) -> Float[Tensor, " choice"]:
    """Mean over labels of the area under precision against recall.

    Of all the pictures first, and then of all but each in turn. A label without an object in
    the pictures does not count.

    Args:
        outcomes: of each picture.
        truths: how many objects of each label are in it.
    """
    logits, labels, right = (torch.cat(parts) for parts in zip(*outcomes, strict=True))
    n_pictures = len(outcomes)
    lengths = torch.tensor([len(one.logits) for one in outcomes], device=logits.device)
    pictures = torch.arange(n_pictures, device=logits.device).repeat_interleave(lengths)
    order = logits.argsort(descending=True, stable=True)
    choices = ~torch.eye(n_pictures, dtype=torch.bool, device=logits.device)
    choices = F.pad(choices, (0, 0, 1, 0), value=True)  # choice, picture
    objects = choices.double() @ truths.double()  # choice, label
    areas = torch.zeros_like(objects)
    for label in range(truths.shape[1]):
        rows = order[labels[order] == label]
        counted = choices[:, pictures[rows]].double()  # choice, box
        hits = counted * right[rows]
        precision = hits.cumsum(1) / counted.cumsum(1).clamp(min=1)
        envelope = precision.flip(1).cummax(1).values.flip(1)
        areas[:, label] = (envelope * hits).sum(1)
    is_there = objects > 0
    return (areas / objects.clamp(min=1)).sum(1) / is_there.sum(1).clamp(min=1)


def _jackknife_error(values: Float[Tensor, "share picture"]) -> Float[Tensor, " share"]:
    """The standard error of what was computed without each picture in turn (Efron 1979)."""
    n_pictures = values.shape[1]
    apart = values - values.mean(1, keepdim=True)
    return ((n_pictures - 1) / n_pictures * apart.square().sum(1)).sqrt()


def _calibrate(line: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    return line[0] * logits + line[1:][labels]


def _fit(outcomes: list[_Outcome], line: Tensor) -> Tensor:
    """The scale and the shifts whose probabilities fit best, held near 1 and 0 (Platt 1999)."""
    logits, labels, right = (torch.cat(parts) for parts in zip(*outcomes, strict=True))
    columns = torch.cat(
        [logits.double().unsqueeze(1), F.one_hot(labels, len(line) - 1).double()], dim=1
    )
    truth = right.double()
    prior = torch.zeros(len(line), dtype=torch.float64, device=line.device)
    prior[0] = 1.0
    precision = torch.full_like(prior, SHIFT_DEVIATION**-2)
    precision[0] = SCALE_DEVIATION**-2
    values = prior.clone()
    for _ in range(ROUNDS):  # Newton's method
        chances = (columns @ values).sigmoid()
        slopes = (chances * (1 - chances)).clamp(min=1e-4)
        gradient = columns.T @ (chances - truth) + precision * (values - prior)
        curvature = (columns * slopes.unsqueeze(1)).T @ columns + precision.diag()
        values = values - solve(curvature, gradient).clamp(-1, 1)
        values[0].clamp_(min=0.05)
    return values.to(line)
