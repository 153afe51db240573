"""What a training has learned from since its last evaluation, in one process and in all."""

from __future__ import annotations

from typing import Any

from spacy_torch.distributed.world import World
from spacy_torch.training.losses import LossWindow, add_up


class Totals:
    """Counts in this process, and adds up over all of them for the logger.

    Attributes:
        losses: of this process.
        n_examples: how many this process has learned from since the last evaluation.
        words_replayed: the tokens of the batches before the checkpoint, which are empty when
            spaCy counts its words.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.losses = LossWindow()
        self.n_examples = 0
        self.words_replayed = 0
        self._losses_of_all: dict[str, Any] | None = None
        self._n_examples_of_all = 0

    def close(self, *, is_replaying: bool) -> None:
        """There was an evaluation: the next totals begin.

        While steps are replayed, nothing is added up over the processes.
        """
        if self.world.size > 1 and not is_replaying:
            self._losses_of_all = add_up(self.world.gather(self.losses.sums))
            self.losses.sums.update(self._losses_of_all)
            self._n_examples_of_all = sum(self.world.gather(self.n_examples))
        self.losses.close()
        self.n_examples = 0

    def of_all_processes(self, info: dict[str, Any], *, is_sharded: bool) -> dict[str, Any]:
        """What a logger is told, with the losses and words of all processes.

        With more than one it is told their number, `n_processes`, and `n_examples`, how many
        all of them have learned from since the last evaluation.

        Args:
            is_sharded: whether processes read different examples.
        """
        if self.world.size == 1:
            return info
        replayed = self.words_replayed
        words = sum(self.world.gather(info["words"] + replayed))
        if not is_sharded:  # all have read, and counted, those that were replayed
            words -= replayed * (self.world.size - 1)
        return {
            **info,
            "losses": self._losses_of_all or info["losses"],
            "words": words,
            "n_processes": self.world.size,
            "n_examples": self._n_examples_of_all,
        }
