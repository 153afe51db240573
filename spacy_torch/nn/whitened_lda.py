"""A detector that needs means only: linear discriminants against a background seen beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spacy_torch.nn.box_windows import VIEWS, BoxWindows
from spacy_torch.nn.fast_boxes import ONE, BoxAnswers
from spacy_torch.nn.linear_algebra import cholesky, solve
from spacy_torch.nn.window_sizes import choose_sizes

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Added to the background's variances, as a share of the average one.
SHRINKAGE = 0.02
# Of the squared weights of the regression of edges, per label-free window of length 1.
EDGE_PENALTY = 0.05
# So many rejected boxes count as much, as an example of what a label is not, as the background.
ENOUGH_REJECTED = 100
# The window sizes are means of those annotated; with few boxes, larger and smaller ones too.
N_SIZES = 8
FEW_BOXES = 20
MOST_SIZES = 3 * N_SIZES
# Before there is evidence, windows so many deviations above the mean of the background are taken
# to be as likely an object as not, and the logit rises by so much per deviation.
RARITY = 8.0
STEEPNESS = 1.0
# The score of a label of which no box is known: never found.
NEVER = -1e4


class LinearLabels(NamedTuple):
    """A linear function of a window's vector for each label."""

    weight: Float[Tensor, "label feature"]
    bias: Float[Tensor, " label"]


class _Totals(NamedTuple):
    """Sums over the answers, of whole numbers in double precision: exact, and so are differences.

    Attributes:
        sums: of the vectors of each label's accepted boxes, (label, feature).
        counts: how many accepted boxes each label has.
        gram: of the columns of the regression of edges, (column, column).
        moments: of these with the offsets, (column, 4).
    """

    sums: Tensor
    counts: Tensor
    gram: Tensor
    moments: Tensor


class WhitenedLDA(nn.Module):
    """For each label a linear discriminant between its boxes and the background.

    The mean and the covariance of the background are taken once, from windows of pictures
    without annotation. A label then needs no more than the mean of its boxes: its weights are
    `S^-1 (mean - background mean)` (Hariharan, Malik and Ramanan 2012,
    https://doi.org/10.1007/978-3-642-33765-9_33), and one box makes a detector. Rejected boxes
    of a label are mixed into its background. The edges of the box are a ridge regression on the
    same vectors.

    Everything that is learned is a function of the set of answered boxes: their order makes no
    difference, not even to the last bit, and any can be taken back.

    Args:
        n_features: the size of a window's vector.
        n_labels: the number of labels.
        n_boxes: how many were answered; stored with the weights.
    """

    background_mean: Tensor
    background_factor: Tensor
    weight: Tensor
    bias: Tensor
    edges: Tensor
    window_sizes: Tensor

    def __init__(self, *, n_features: int, n_labels: int, n_boxes: int = 0) -> None:
        super().__init__()
        self.answers = BoxAnswers(n_features=n_features, n_boxes=n_boxes)
        self.register_buffer("background_mean", torch.zeros(n_features))
        self.register_buffer("background_factor", torch.eye(n_features))
        self.register_buffer("weight", torch.zeros(n_labels, n_features))
        self.register_buffer("bias", torch.full((n_labels,), NEVER))
        self.register_buffer("edges", torch.zeros(4, n_features + 1))
        # Rows of zeros behind those in use: a buffer's shape is known from the sizes.
        self.register_buffer("window_sizes", torch.zeros(MOST_SIZES, 2))
        self._totals: _Totals | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_totals": None}

    def sizes_in_use(self) -> list[tuple[float, float]]:
        """The heights and widths of the windows to look through."""
        rows = self.window_sizes[self.window_sizes[:, 0] > 0]
        return [(float(height), float(width)) for height, width in rows]

    @property
    def labels(self) -> LinearLabels:
        """What was learned of each label."""
        return LinearLabels(self.weight, self.bias)

    @torch.no_grad()
    def learn_background(self, windows: Iterable[Float[Tensor, "window feature"]]) -> None:
        """Take mean and covariance from windows of pictures without annotation.

        Raises:
            ValueError: there are fewer than two.
        """
        size = len(self.background_mean)
        count = 0
        total = self.background_mean.new_zeros(size, dtype=torch.float64)
        products = self.background_mean.new_zeros(size, size, dtype=torch.float64)
        for rows in windows:
            count += len(rows)
            total += rows.double().sum(0)
            products += (rows.T @ rows).double()
        if count < 2:
            raise ValueError(f"the background needs at least two windows, got {count}")
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        self.background_mean.copy_(mean)
        self.background_factor.copy_(cholesky(_shrink(covariance)))
        self.fit()

    @torch.no_grad()
    def answer(
        self,
        keys: Int[Tensor, " box"],
        *,
        pictures: Int[Tensor, " box"],
        labels: Int[Tensor, " box"],
        verdicts: Int[Tensor, " box"],
        sizes: Float[Tensor, "box 2"],
        windows: BoxWindows,
    ) -> None:
        """Learn boxes: accepted ones, verdict 1, and rejected ones, 0 (see `BoxAnswers`)."""
        if not len(keys):
            return
        self._count(torch.isin(self.answers.keys, keys), sign=-1)
        self.answers.add(
            keys, pictures=pictures, labels=labels, verdicts=verdicts, sizes=sizes, windows=windows
        )
        self._count(torch.isin(self.answers.keys, keys), sign=1)
        self.fit()

    @torch.no_grad()
    def forget(self, chosen: Tensor) -> None:
        """Take boxes back, given which of `answers`, as if they had never been answered."""
        if bool(chosen.any()):
            self._count(chosen, sign=-1)
            self.answers.remove(chosen)
            self.fit()

    @torch.no_grad()
    def fit(self) -> None:
        """Compute what is learned from the answers as they are."""
        answers = self.answers
        labels = self.fit_labels()
        self.weight, self.bias = labels.weight.float(), labels.bias.float()
        self.edges = self._fit_edges().float()
        accepted = answers.sizes[answers.verdicts == 1]
        sizes = choose_sizes(accepted, n_sizes=N_SIZES, n_few=FEW_BOXES)
        self.window_sizes = torch.zeros_like(self.window_sizes)
        self.window_sizes[: len(sizes)] = sizes

    @torch.no_grad()
    def fit_labels(self, *, without: int | None = None) -> LinearLabels:
        """The labels as learned from all the answers, or from those of all pictures but one.

        Args:
            without: the key of that picture.
        """
        answers = self.answers
        sums, counts, _, _ = self._read_totals()
        rejected = answers.verdicts == 0
        if without is not None:
            rejected &= answers.pictures != without
            left_out = (answers.verdicts == 1) & (answers.pictures == without)
            labels = answers.labels[left_out]
            sums = sums.index_add(0, labels, answers.rows[left_out].double().sum(1), alpha=-1)
            counts = counts - torch.bincount(labels, minlength=len(counts))
        means = sums / (counts * len(VIEWS) * ONE).clamp(min=1).unsqueeze(1)
        mean, factor = self.background_mean.double(), self.background_factor.double()
        weight = torch.cholesky_solve((means - mean).T, factor).T
        bias = -((means + mean) * weight).sum(1) / 2
        for label in sorted(set(map(int, answers.labels[rejected]))):
            rows = answers.rows[rejected & (answers.labels == label)].double().flatten(0, 1) / ONE
            other_mean, other_factor = _mix(mean, factor, rows)
            column = (means[label] - other_mean).unsqueeze(1)
            weight[label] = torch.cholesky_solve(column, other_factor)[:, 0]
            bias[label] = -((means[label] + other_mean) * weight[label]).sum() / 2
        # Of a normal distribution the scores of the background would have the mean -d^2 / 2 and
        # the deviation d, those of the boxes the mean d^2 / 2.
        deviations = ((means - mean) * weight).sum(1).clamp(min=1e-6).sqrt()
        unlikely = (RARITY - deviations / 2) * deviations
        gains = STEEPNESS / deviations
        known = counts > 0
        return LinearLabels(
            torch.where(known.unsqueeze(1), gains.unsqueeze(1) * weight, 0.0),
            torch.where(known, gains * (bias - unlikely), NEVER),
        )

    def _count(self, chosen: Tensor, *, sign: int) -> None:
        """Add some of the answers to the totals, or take them away."""
        if self._totals is None:  # they are counted when somebody asks for them
            return
        sums, counts, gram, moments = self._totals
        answers = self.answers
        accepted = chosen & (answers.verdicts == 1)
        labels = answers.labels[accepted]
        sums.index_add_(0, labels, answers.rows[accepted].double().sum(1), alpha=sign)
        counts += sign * torch.bincount(labels, minlength=len(counts))
        columns = _columns(answers.rows[chosen])
        gram += sign * (columns.T @ columns)
        moments += sign * (columns.T @ answers.offsets[chosen].double().flatten(0, 1))

    def _read_totals(self) -> _Totals:
        if self._totals is None or self._totals.sums.device != self.weight.device:
            n_labels, size = self.weight.shape
            zeros = self.weight.new_zeros(n_labels + size + 1, size + 1, dtype=torch.float64)
            sums, gram = zeros[:n_labels, :size].clone(), zeros[n_labels:].clone()
            counts = torch.zeros_like(self.bias, dtype=torch.int64)
            self._totals = _Totals(sums, counts, gram, gram[:, :4].clone())
            numbers = torch.arange(len(self.answers), device=self.weight.device)
            for start in range(0, len(numbers), 500):  # not all in double precision at once
                self._count((numbers >= start) & (numbers < start + 500), sign=1)
        return self._totals

    def _fit_edges(self) -> Float[Tensor, "4 column"]:
        _, _, gram, moments = self._read_totals()
        penalized = gram / ONE**2
        penalized.diagonal().add_(EDGE_PENALTY)
        return solve(penalized, moments / ONE**2).T


def _columns(rows: Tensor) -> Float[Tensor, "window column"]:
    """Whole numbers, and a column of ones of the same scale."""
    windows = rows.flatten(0, 1).double()
    return torch.cat([windows, windows.new_full((len(windows), 1), float(ONE))], dim=1)


def _shrink(covariance: Float[Tensor, "feature feature"]) -> Float[Tensor, "feature feature"]:
    average = covariance.diagonal().mean().clamp(min=1e-8)
    return covariance + SHRINKAGE * average * torch.eye(len(covariance)).to(covariance)


def _mix(mean: Tensor, factor: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and the factor of the covariance, of a background with these windows in it."""
    n_boxes = len(rows) / len(VIEWS)
    share = n_boxes / (n_boxes + ENOUGH_REJECTED)
    theirs = rows.mean(0)
    centred = rows - theirs
    apart = theirs - mean
    covariance = (1 - share) * factor @ factor.T
    covariance += share * centred.T @ centred / len(rows)
    covariance += share * (1 - share) * torch.outer(apart, apart)
    return mean + share * apart, cholesky(covariance)
