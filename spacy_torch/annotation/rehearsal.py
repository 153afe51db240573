"""Learning by gradient from all answers, again and again: between the answers, or beside them."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Optimizer

from spacy_torch.annotation.learn_rate import step_up
from spacy_torch.annotation.upstream import Upstream


class Rehearsal:
    """Goes through the examples several times whenever there are new ones.

    Args:
        upstream: of the component that learns. One that learns everything at once does not
            need to rehearse.
        plan: the batches of a rehearsal, as of now.
        lock: held during a step, and while planning.
        background: in a thread of its own; else `begin` returns when it is done.
    """

    def __init__(
        self,
        upstream: Upstream,
        plan: Callable[[], Iterable[list[Example]]],
        *,
        optimizer: Optimizer,
        drop: float,
        lock: threading.RLock,
        background: bool,
    ) -> None:
        self._upstream = upstream
        self._plan = plan
        self._optimizer = optimizer
        self._drop = drop
        self._lock = lock
        self._is_wanted = threading.Event()
        self._is_closed = False
        self._failure: BaseException | None = None
        self.thread: threading.Thread | None = None
        if background:
            self.thread = threading.Thread(target=self._go_on, daemon=True)
            self.thread.start()
            # The interpreter must not end while torch computes in a thread of it.
            atexit.register(self.close)

    def begin(self) -> None:
        """Rehearse, as there is something new; what is going on begins again, with it."""
        component = self._upstream.nlp.get_pipe(self._upstream.name)
        if not getattr(component, "learns_by_gradient", True):
            return
        if self.thread is not None:
            self._is_wanted.set()
            return
        for batch in self._plan():
            self._step(batch)

    def close(self) -> None:
        """End the thread, after the step that it is at."""
        atexit.unregister(self.close)
        self._is_closed = True
        self._is_wanted.set()
        if self.thread is not None:
            self.thread.join()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what went wrong in the thread, once."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise RuntimeError(
                f"rehearsing the answers failed: {type(failure).__name__}: {failure}. No answer is "
                "lost; start again to go on"
            ) from failure

    def _step(self, batch: list[Example]) -> None:
        self._upstream.update(batch, sgd=self._optimizer, drop=self._drop)
        step_up(self._optimizer)

    def _go_on(self) -> None:
        try:
            while not self._is_closed:
                self._is_wanted.wait()
                self._is_wanted.clear()
                with self._lock:
                    batches = list(self._plan())
                for batch in batches:
                    if self._is_closed or self._is_wanted.is_set():
                        break
                    with self._lock:
                        self._step(batch)
        except BaseException as failure:  # told to the annotator at the next question
            self._failure = failure


def plan_batches(
    examples: Sequence[Example], *, epochs: int, size: int, random: np.random.Generator
) -> list[list[Example]]:
    """The batches of several passes, each in an order of its own."""
    batches: list[list[Example]] = []
    for _ in range(epochs if examples else 0):
        shuffled = [examples[place] for place in random.permutation(len(examples))]
        batches += [list(batch) for batch in minibatch(shuffled, size)]
    return batches
