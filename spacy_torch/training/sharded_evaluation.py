"""An evaluation that the ranks share: each predicts its part, rank 0 scores, all know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.distributed.world import World

# Of a document: what no scorer reads and would make most of the bytes.
LEFT_OUT = ("tensor", "user_data")


class Prediction(NamedTuple):
    """What a pipeline has made of a document.

    Attributes:
        data: the annotations, as `Doc.to_bytes` gives them.
        user_data: the entries that it has added or replaced, such as those of `doc._`.
    """

    data: bytes
    user_data: dict[Any, Any]


def share_evaluation(nlp: Language, world: World) -> None:
    """Let `nlp.evaluate` of this object predict on all ranks and score on rank 0.

    All ranks must call it with the same examples. With one rank nothing is changed.
    """
    if world.size == 1:
        return
    evaluate = nlp.evaluate

    def evaluate_shared(examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        if world.rank == 0:
            return _score(nlp, evaluate, examples, world, settings)
        mine = [eg.predicted.copy() for eg in examples][world.rank :: world.size]
        world.collect(_predict(nlp.pipe, mine, **_of_pipe(nlp, settings)))
        scores, problem = world.broadcast(None)  # type: ignore[misc]
        if problem is not None:
            raise RuntimeError(f"rank 0 could not score the evaluation: {problem}")
        return scores

    nlp.evaluate = evaluate_shared  # type: ignore[method-assign]


def _score(
    nlp: Language,
    evaluate: Callable[..., dict[str, Any]],
    examples: Iterable[Example],
    world: World,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What spaCy's own evaluation finds when the documents come from all ranks."""
    pipe, of_object = nlp.pipe, vars(nlp).get("pipe")

    def pipe_shared(docs: Iterable[Doc], **of_pipe: Any) -> Iterator[Doc]:
        docs = list(docs)
        collected = world.collect(_predict(pipe, docs[:: world.size], **of_pipe))
        for place, doc in enumerate(docs):
            assert collected is not None
            yield _restore(doc, collected[place % world.size][place // world.size])

    nlp.pipe = pipe_shared  # type: ignore[method-assign, assignment]
    try:
        scores = evaluate(examples, **settings)
    except Exception as error:
        world.broadcast((None, f"{type(error).__name__}: {error}"))
        raise
    finally:
        del nlp.pipe  # the method of the class is there again
        if of_object is not None:
            nlp.pipe = of_object  # type: ignore[method-assign]
    return world.broadcast((scores, None))[0]


def _of_pipe(nlp: Language, settings: dict[str, Any]) -> dict[str, Any]:
    batch_size = settings.get("batch_size")
    return {
        "batch_size": nlp.batch_size if batch_size is None else batch_size,
        "component_cfg": settings.get("component_cfg") or {},
    }


def _predict(
    pipe: Callable[..., Iterable[Doc]], docs: list[Doc], **settings: Any
) -> list[Prediction]:
    before = [dict(doc.user_data) for doc in docs]
    return [
        Prediction(
            doc.to_bytes(exclude=LEFT_OUT),
            {
                key: value
                for key, value in doc.user_data.items()
                if key not in known or known[key] is not value
            },
        )
        for doc, known in zip(pipe(docs, **settings), before, strict=True)
    ]


def _restore(doc: Doc, prediction: Prediction) -> Doc:
    restored = Doc(doc.vocab).from_bytes(prediction.data)
    restored.user_data = {**doc.user_data, **prediction.user_data}
    return restored
