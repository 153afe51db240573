"""A session: a pipeline, its pool and its answers put together, for every tool alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import Kind
from spacy_torch.annotation.pipelines import open_questions
from spacy_torch.annotation.strategies import Strategy
from spacy_torch.annotation.tasks import Task
from spacy_torch.registry import query_strategies


def open_session(
    source: str | Path,
    pool: Sequence[Task],
    *,
    journal: Journal,
    component: str | None = None,
    kind: Kind | None = None,
    labels: Sequence[str] = (),
    blank: str = "textcat",
    strategy: str = "Margin",
    settings: Settings | None = None,
    background: bool = True,
) -> ActiveLearner:
    """A learner about the tasks of a pool, which knows the answers of a journal.

    Args:
        source, component, kind, labels, blank: see `open_questions`.
        strategy: see `find_strategy`.
        background: rehearse in a thread of its own.

    Raises:
        OSError, ValueError, TypeError: see `open_questions`.
    """
    chosen = find_strategy(strategy)
    settings = settings or Settings()
    questions = open_questions(
        source,
        pool,
        component=component,
        kind=kind,
        labels=labels,
        blank=blank,
        seed=settings.seed,
    )
    return ActiveLearner(
        questions.nlp,
        questions,
        pool,
        strategy=chosen,
        journal=journal,
        settings=settings,
        background=background,
    )


def find_strategy(name: str) -> Strategy:
    """A query strategy by its registered name; `Margin` is short for `spacy-torch.Margin.v1`.

    Raises:
        ValueError: there is none of this name.
    """
    full = name if "." in name else f"spacy-torch.{name}.v1"
    known = query_strategies.get_all()
    if full not in known:
        raise ValueError(f"there is no query strategy {full!r}, only {', '.join(sorted(known))}")
    return known[full]()
