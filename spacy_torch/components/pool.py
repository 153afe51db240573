"""The pool: documents without annotations, which a model may learn from before the first answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

# More would take longer than it helps.
ENOUGH = 20_000

# In a config a reader, as for a corpus; in code also what it would give.
Pool = Callable[[Language], Iterable[Example]] | Iterable[Doc | Example | str]


def read_pool(
    pool: Pool | None,
    get_examples: Callable[[], Iterable[Example]],
    *,
    nlp: Language | None,
    name: str,
) -> Iterator[Doc]:
    """The first documents of a pool, or of the examples if none is given.

    Raises:
        TypeError: the pool holds something else, or texts and there is no pipeline to
            tokenize them.
    """
    if pool is None:
        pool = get_examples()
    elif callable(pool):
        if nlp is None:
            raise TypeError(f"{name!r}: a reader as the pool needs nlp=..., the pipeline")
        pool = pool(nlp)
    for item in islice(pool, ENOUGH):
        yield _to_doc(item, nlp=nlp, name=name)


def _to_doc(item: Any, *, nlp: Language | None, name: str) -> Doc:
    if isinstance(item, Example):
        return item.predicted  # what the component will get: with its picture, if it has one
    if isinstance(item, (str, Path)) and nlp is not None:
        return nlp.make_doc(str(item))
    if isinstance(item, Doc):
        return item
    raise TypeError(
        f"{name!r}: the pool must give Docs, Examples, or texts together with nlp=..., got a "
        f"{type(item).__name__}: {item!r:.60}"
    )
