"""A model at the start of a simulation, and what it is worth on the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.util import get_sourced_components

from spacy_torch.annotation.classifier_pipeline import build_pipeline
from spacy_torch.annotation.gold import GoldData
from spacy_torch.annotation.questions import Questions, make_doc
from spacy_torch.annotation.subject import Measured
from spacy_torch.annotation.subjects import SUBJECTS

# How many documents are predicted at a time.
BATCH = 256


def begin(
    config: Mapping[str, Any],
    data: GoldData,
    kind: str,
    *,
    component: str | None = None,
    seed: int,
    name: str,
) -> Questions:
    """Questions about a new pipeline that knows the pool and its labels, but no answer.

    Args:
        component: that learns; None for the first one that can.
        name: what the model is called, for a message.

    Raises:
        ValueError: it is for another number of labels than the data has.
    """
    subject = SUBJECTS[data.subject]
    nlp = build_pipeline(config, seed=seed)
    component = subject.find_component(nlp, component)
    is_multilabel = nlp.get_pipe_meta(component).factory.endswith("_multilabel")
    if data.subject == "classes" and is_multilabel == data.exclusive:
        raise ValueError(
            f"{name}: {component!r} is for "
            f"{'any number of labels' if is_multilabel else 'exactly one label'}, but the data "
            f"has {'exactly one' if data.exclusive else 'another number'} for each input: use "
            "the other component"
        )
    # Made by the pipeline alone, as there are no labels yet to ask about.
    docs = [make_doc(nlp, gold.task) for gold in data.pool]
    trained = get_sourced_components(dict(config))
    subject.initialize(nlp, component, labels=data.labels, docs=docs, trained=trained)
    return subject.make_questions(nlp, component, kind)


def measure_pipeline(questions: Questions, docs: Sequence[Doc], data: GoldData) -> Measured:
    """How good a component is on the documents of the test."""
    subject, component, upstream = SUBJECTS[data.subject], questions.component, questions.upstream
    found = [
        subject.predict(component, upstream.annotate(docs[start : start + BATCH]))
        for start in range(0, len(docs), BATCH)
    ]
    true = [gold.true for gold in data.test]
    return subject.measure(found, true, labels=data.labels, exclusive=data.exclusive)
