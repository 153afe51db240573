"""How much of a batch a module gets at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

from spacy_torch.nn.out_of_memory import run_if_it_fits

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class BatchLimit:
    """Runs a batch in parts of so many tokens, and in smaller ones once memory has run out.

    Parts are of documents, and run with their backward pass. `SubBatches` of `nn` splits within a
    forward pass, into sequences of similar lengths, and counts their padding.

    Args:
        tokens: of a part at most; an item with more is a part of its own. None: the whole batch
            is one part as long as memory suffices.
        name: whose batches these are, for the log.
    """

    def __init__(self, tokens: int | None, *, name: str) -> None:
        self.tokens = tokens
        self.name = name
        self._has_warned = False

    def run(
        self,
        function: Callable[[Sequence[ItemT]], ResultT],
        items: Sequence[ItemT],
        lengths: Sequence[int],
    ) -> Iterator[ResultT]:
        """The function's results for the parts, in order.

        A part for which memory runs out is run again in halves, and later parts are as small:
        the function must leave no trace when it fails.

        Args:
            items: as many as there are lengths; without any, the function is not called.
            lengths: their numbers of tokens.
        """
        done = 0
        while done < len(items):
            size = self._count_fitting(lengths[done:])
            part = items[done : done + size]
            found = run_if_it_fits(function, part, n_items=size)
            if not found:
                self._shrink(lengths[done : done + size])
                continue
            yield found[0]
            done += size

    def _count_fitting(self, lengths: Sequence[int]) -> int:
        if self.tokens is None:
            return len(lengths)
        fitting = sum(total <= self.tokens for total in accumulate(lengths))
        return max(1, fitting)

    def _shrink(self, lengths: Sequence[int]) -> None:
        n_tokens = sum(lengths)
        self.tokens = n_tokens // 2
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: out of memory on %d documents of %d tokens: they are run in halves, and "
                "at most %d tokens at once from now on. Set batch_tokens to that in the "
                "[model.runtime] block, to be spared the failing attempt",
                self.name,
                len(lengths),
                n_tokens,
                self.tokens,
            )
