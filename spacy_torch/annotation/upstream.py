"""What a component gets from those before it in the pipeline, predicting and learning."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Optimizer

logger = logging.getLogger(__name__)


class Upstream:
    """The token encoders that a component listens to, and the pipes whose annotations it is given.

    The latter are those of `[training.annotating_components]`, and those that assign what the
    component says that it requires. All other pipes are left alone: they cost nothing.

    Attributes:
        shared: the encoders, such as `tok2vec`, in the order of the pipeline.
        annotating: the others.
        frozen: encoders that `[training.frozen_components]` names: they stay as they are.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        self.nlp = nlp
        self.name = name
        training = nlp.config.get("training", {})
        names = list(training.get("annotating_components") or [])
        required = set(nlp.get_pipe_meta(name).requires)
        self.shared: list[str] = []
        self.annotating: list[str] = []
        served = {name}
        for other in reversed(nlp.pipe_names[: nlp.pipe_names.index(name)]):
            if served & set(getattr(nlp.get_pipe(other), "listening_components", ())):
                self.shared.insert(0, other)
            elif other in names or required & set(nlp.get_pipe_meta(other).assigns):
                self.annotating.insert(0, other)
                required |= set(nlp.get_pipe_meta(other).requires)
            else:
                continue
            served.add(other)
        frozen = set(training.get("frozen_components") or [])
        self.frozen = [other for other in self.shared if other in frozen]
        self._is_told = False

    def annotate(self, docs: Sequence[Doc]) -> list[Doc]:
        """Documents as the component gets them; new ones are changed, and given back.

        Raises:
            ValueError: a pipe has left one out.
        """
        found = list(docs)
        for other in self.nlp.pipe_names:
            if other in self.shared or other in self.annotating:
                pipe: Any = self.nlp.get_pipe(other)
                found = list(pipe.pipe(found) if hasattr(pipe, "pipe") else map(pipe, found))
        if len(found) != len(docs):
            raise ValueError(
                f"of {len(docs)} documents {len(found)} came through the pipes before "
                f"{self.name!r}: the error handler of one must not leave documents out"
            )
        return found

    def update(self, examples: Sequence[Example], *, sgd: Optimizer, drop: float) -> None:
        """A step of the component and of the encoders that it listens to."""
        learning = {self.name, *self.shared} - set(self.frozen)
        with ExitStack() as stack:
            for other in self.shared:
                if other in learning:
                    stack.enter_context(self._listen_alone(self.nlp.get_pipe(other)))
            self.nlp.update(
                list(examples),
                sgd=sgd,
                drop=drop,
                exclude=[other for other in self.nlp.pipe_names if other not in learning],
                annotates=[*self.frozen, *self.annotating],
            )

    @contextmanager
    def _listen_alone(self, encoder: Any) -> Iterator[None]:
        """Have an encoder serve this component only: it learns when its last listener has."""
        listeners = [
            (other, listener)
            for other in encoder.listening_components
            for listener in encoder.listener_map[other]
        ]
        others = sorted({other for other, _ in listeners if other != self.name})
        if others and not self._is_told:
            self._is_told = True
            logger.warning(
                "%r learns with %r, to which %s listen, too: what these have learned may fit it no "
                "more; [training] frozen_components can keep it as it is",
                encoder.name,
                self.name,
                others,
            )
        for other, listener in listeners:
            if other != self.name:
                encoder.remove_listener(listener, other)
        try:
            yield
        finally:
            for other, listener in listeners:  # in the same order again
                encoder.remove_listener(listener, other)
                encoder.add_listener(listener, other)
