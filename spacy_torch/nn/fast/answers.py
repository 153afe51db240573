"""What was answered so far: a set of rows, found by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spacy_torch.nn.linear_algebra import unique

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Rows and targets are kept as 16-bit fixed-point numbers: half the size, and sums that are
# the same in any order.
ONE = 2**14
UNKNOWN = -1


class Answers(nn.Module):
    """A set of answered rows, one per key, in the order of the keys.

    The order in which answers came leaves no trace, and what is taken away again never
    was: two sets of the same answers are equal to the bit.

    Args:
        width: the size of a row, whose values lie between -1 and 1.
        n_labels: the number of targets of a row.
        n_answers: how many rows there is room for; stored with the weights, as the
            number changes while the module is in use.
    """

    keys: Tensor
    rows: Tensor
    targets: Tensor

    def __init__(self, *, width: int, n_labels: int, n_answers: int = 0) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.register_buffer("keys", torch.zeros(n_answers, dtype=torch.int64))
        self.register_buffer("rows", torch.zeros(n_answers, width, dtype=torch.int16))
        unknown = torch.full((n_answers, n_labels), UNKNOWN, dtype=torch.int16)
        self.register_buffer("targets", unknown)

    def __len__(self) -> int:
        return len(self.keys)

    def add(
        self,
        keys: Int[Tensor, " answer"],
        rows: Float[Tensor, "answer width"],
        targets: Float[Tensor, "answer label"],
    ) -> bool:
        """Put answers in; of two with the same key the later one counts.

        What the later one leaves open (NaN) stays as it was answered before.

        Returns:
            Whether anything changed.
        """
        keys, rows, targets = self._last_of_each(keys, rows, targets)
        if not len(keys):
            return False
        encoded = torch.where(targets.isnan(), float(UNKNOWN), targets * ONE).round().short()
        place, found = self.find(keys)
        before = self.targets[place[found]]
        merged = torch.where(encoded[found] == UNKNOWN, before, encoded[found])
        changed = bool((merged != before).any())
        if changed:
            targets_now = self.targets.clone()
            targets_now[place[found]] = merged
            self.targets = targets_now
        if bool(found.all()):
            return changed
        new = ~found
        all_keys = torch.cat([self.keys, keys[new]])
        order = all_keys.argsort()
        self.rows = torch.cat([self.rows, (rows[new] * ONE).round().short()])[order]
        self.targets = torch.cat([self.targets, encoded[new]])[order]
        self.keys = all_keys[order]
        return True

    def remove(self, keys: Int[Tensor, " answer"]) -> bool:
        """Take the answers with these keys away; returns whether there were any."""
        place, found = self.find(keys)
        kept = torch.ones(len(self.keys), dtype=torch.bool, device=self.keys.device)
        kept[place[found]] = False
        if bool(kept.all()):
            return False
        self.keys, self.rows, self.targets = self.keys[kept], self.rows[kept], self.targets[kept]
        return True

    def find(self, keys: Int[Tensor, " answer"]) -> tuple[Tensor, Tensor]:
        """Where each key stands, and whether it is there at all."""
        if not len(self.keys):
            return torch.zeros_like(keys), torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return place, self.keys[place] == keys

    def read_rows(self, places: Tensor | slice = slice(None)) -> Float[Tensor, "answer width"]:
        """The rows as numbers, all or some, in double precision."""
        return self.rows[places].double() / ONE

    def read_targets(self, places: Tensor | slice = slice(None)) -> Float[Tensor, "answer label"]:
        """The targets as numbers, all or some, in double precision; NaN for what is unknown."""
        targets = self.targets[places]
        return torch.where(targets == UNKNOWN, float("nan"), targets.double() / ONE)

    def _last_of_each(
        self, keys: Tensor, rows: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Without answers that say nothing, and one answer per key."""
        says = ~targets.isnan().all(dim=1)
        keys, rows, targets = keys[says], rows[says], targets[says]
        distinct, inverse = unique(keys)
        if len(distinct) == len(keys):
            return keys, rows, targets
        # In order, as a later answer may leave open what an earlier one said.
        merged = targets.new_full((len(distinct), targets.shape[1]), float("nan"))
        last = torch.zeros_like(distinct)
        for answer, place in enumerate(cast("list[int]", inverse.tolist())):  # pyright: ignore[reportUnknownMemberType]
            merged[place] = torch.where(targets[answer].isnan(), merged[place], targets[answer])
            last[place] = answer
        return distinct, rows[last], merged
