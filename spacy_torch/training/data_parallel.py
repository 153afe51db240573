"""What several ranks of one training do otherwise than a single process."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Generator, Iterable
from typing import Any, Protocol

from spacy.language import Language
from spacy.training import Example

from spacy_torch.distributed.gradient_sum import GradientSum
from spacy_torch.distributed.same_weights import share_weights
from spacy_torch.distributed.world import World
from spacy_torch.training.sharded_evaluation import share_evaluation
from spacy_torch.training.shards import Reader, cut_batches, even_out, shard_corpus
from spacy_torch.training.shared_updates import find_trained, share_updates


class Run(Protocol):
    """What is asked of the run that the ranks take part in."""

    @property
    def is_replaying(self) -> bool:
        """Whether its steps were made before, and change nothing now."""
        ...


class DataParallel:
    """Lets the ranks of a world train one pipeline; with one rank, nothing is changed.

    Attributes:
        gradients: the sums over the ranks.
        is_sharded: whether the ranks read different files, and not the same batches.
        is_reading: whether the training has begun, before which the labels are read.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.gradients = GradientSum(world)
        self.is_sharded = False
        self.is_reading = False

    def wrap_reader(self, reader: Reader) -> Reader:
        """A streamed corpus: all of it for the labels, then the files of this rank."""
        share = shard_corpus(reader, self.world)
        self.is_sharded = share is not None

        def read(nlp: Language) -> Iterable[Example]:
            return reader(nlp) if share is None or not self.is_reading else share(nlp)

        return read

    def even_out(self, batches: Iterable[list[Example]]) -> Iterable[list[Example]]:
        """As many batches on every rank, where the ranks read different ones."""
        if not self.is_sharded:
            return batches
        return even_out(cut_batches(batches, self.world.size), self.world)

    def begin(self, nlp: Language, run: Run) -> None:
        """Before the first step: begin with one set of weights, share steps and evaluations.

        Raises:
            NotTogetherError: a component cannot be trained by several ranks.
        """
        if self.world.size == 1:
            return
        frozen = nlp.config.interpolate()["training"]["frozen_components"]
        share_updates(nlp, self.gradients, frozen=frozen, is_idle=lambda: run.is_replaying)
        share_weights([pipe.model for _, pipe in find_trained(nlp)], self.world)
        share_evaluation(nlp, self.world)
        if self.is_sharded:
            _share_strings(nlp, self.world)

    @contextlib.contextmanager
    def speaking(self) -> Generator[None, None, None]:
        """Let only rank 0 print."""
        if self.world.rank == 0:
            yield
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                yield

    def choose_gpu(self, use_gpu: int) -> int:
        """The GPU of this rank, where one was asked for (-1: none)."""
        if self.world.size == 1 or use_gpu < 0:
            return use_gpu
        return int(os.environ.get("LOCAL_RANK", use_gpu))


def _share_strings(nlp: Language, world: World) -> None:
    """Before each evaluation, let all ranks know the strings that any of them has read."""
    evaluate = nlp.evaluate
    n_known = len(nlp.vocab.strings)

    def evaluate_with_strings(*args: Any, **settings: Any) -> dict[str, Any]:
        nonlocal n_known
        new = list(itertools.islice(nlp.vocab.strings, n_known, None))
        for strings in world.gather(new):
            for string in strings:
                nlp.vocab.strings.add(string)
        n_known = len(nlp.vocab.strings)
        return evaluate(*args, **settings)

    nlp.evaluate = evaluate_with_strings  # type: ignore[method-assign]
