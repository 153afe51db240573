"""What one process trains on of the batches that all processes of a run read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from spacy.training import Example

from spacy_torch.distributed.world import NotTogetherError
from spacy_torch.training.run_state import RunState
from spacy_torch.training.shards import share_out

Batch = list[Example]
Batcher = Callable[[Iterable[Example]], Iterable[Batch]]


class OwnBatches:
    """A batcher that gives this process its part, and empty batches while steps are replayed.

    Args:
        batcher: that of the config.
        state: of the run, which notes all batches that are read.
        n_replayed: how many batches were trained on before the checkpoint.
        even_out: given this process's batches of an epoch, gives as many in every process.
    """

    def __init__(
        self,
        batcher: Batcher,
        state: RunState,
        *,
        n_replayed: int,
        even_out: Callable[[Iterable[Batch]], Iterable[Batch]],
    ) -> None:
        self.batcher = batcher
        self.state = state
        self.world = state.world
        self.n_replayed = n_replayed
        self.even_out = even_out

    def __call__(self, examples: Iterable[Example]) -> Iterator[Batch]:
        """The batches of an epoch.

        Raises:
            NotTogetherError: processes that should read the same examples read others.
        """
        self._compare_order(examples)
        yield from map(self._share, self.even_out(self.batcher(examples)))

    def _share(self, batch: Iterable[Example]) -> Batch:
        batch = list(batch)
        n_before = self.state.trail.n_batches
        self.state.trail.add(batch)
        if n_before < self.n_replayed:
            self.state.totals.words_replayed += sum(map(len, batch))
            return []
        return batch if self.state.is_sharded else self._slice(batch)

    def _slice(self, batch: Batch) -> Batch:
        if self.world.size == 1:
            return batch
        return share_out(batch, self.world.size)[self.world.rank]

    def _compare_order(self, examples: Iterable[Example]) -> None:
        if self.world.size == 1 or self.state.is_sharded or not isinstance(examples, list):
            return
        found = self.world.gather((len(examples), self.state.trail.order(examples)))
        if len(set(found)) > 1:
            raise NotTogetherError(
                "the processes have different training examples, or in another order: they have "
                f"(examples, checksum) {found}. Give all of them the same corpus and code; what "
                "draws random numbers while it reads must be seeded alike"
            )
