"""`nlp.update`, counting what passes through it: no logger of spaCy's is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from spacy.language import Language
from spacy.training import Example


class CountedUpdate:
    """Stands in for the method of one pipeline, until it is removed.

    Attributes:
        n_examples: how many were learned from.
        n_words: how many tokens they had.
        losses: the dictionary that the last call added its losses to.
        before: what was in it when it first came. A resumed training goes on with sums
            whose examples were not counted here.
    """

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp
        self.n_examples = 0
        self.n_words = 0
        self.losses: Mapping[str, float] = {}
        self.before: Mapping[str, float] = {}
        self._replaced = vars(nlp).get("update")
        cast("Any", nlp).update = self

    def __call__(self, examples: Iterable[Example], *args: Any, **kwargs: Any) -> Any:
        """Count and do what the method does."""
        examples = examples if isinstance(examples, list) else list(examples)
        losses = kwargs.get("losses")
        if losses is not self.losses:
            self.before = dict(losses or {})
        if self._replaced is not None:
            result = self._replaced(examples, *args, **kwargs)
        else:
            result = type(self.nlp).update(self.nlp, examples, *args, **kwargs)
        self.n_examples += len(examples)
        self.n_words += sum(map(len, examples))
        self.losses = result if losses is None else losses  # spaCy returns a copy
        return result

    def remove(self) -> None:
        """Give the pipeline its method back, unless something stands in for this by now."""
        if vars(self.nlp).get("update") is self:
            del vars(self.nlp)["update"]
            if self._replaced is not None:
                cast("Any", self.nlp).update = self._replaced
