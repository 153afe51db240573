"""A session with Label Studio: from the address of a project to a pipeline that has learned it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from spacy_torch.annotation.active import ActiveLearner, Progress, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.label_studio import LabelStudioLoop
from spacy_torch.annotation.label_studio_backend import Backend
from spacy_torch.annotation.label_studio_client import Client
from spacy_torch.annotation.label_studio_interface import Interface
from spacy_torch.annotation.label_studio_project import Project
from spacy_torch.annotation.one_session import hold_dataset
from spacy_torch.annotation.pipelines import find_saved, state_of
from spacy_torch.annotation.session import open_session


def run_label_studio(
    source: str | Path,
    url: str,
    project: int,
    *,
    dataset: Path,
    token: str | None = None,
    component: str | None = None,
    from_name: str | None = None,
    strategy: str = "Margin",
    settings: Settings | None = None,
    background: bool = True,
    ahead: int = 20,
    poll: float = 2.0,
    backend: int | None = None,
    save_every: int = 50,
    stop: threading.Event | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> ActiveLearner:
    """Teach a pipeline what people say in a Label Studio project, until nothing is left to ask.

    Every answer is a line of the dataset before the model hears of it. The pipeline is saved
    beside it (`answers.model` for `answers.jsonl`) at the end and every so many answers; from
    there the next session goes on. Pictures that the server has are kept in `answers.pictures`.

    Args:
        source: a config, a trained pipeline, or `blank:en` for one with what suits the
            labelling config; not looked at where a pipeline was saved.
        url: of the server.
        project: the number of the project, as in its address.
        token: by default that in the environment variable LABEL_STUDIO_TOKEN.
        component: by default the first that can be asked about.
        from_name: the control of the labelling config, if it has several.
        strategy: which questions to ask first; see `find_strategy`.
        background: rehearse the answers while others come.
        ahead: how many questions wait in the project.
        poll: seconds between two looks at the project.
        backend: a port of this computer at which the server may also ask for predictions
            itself; see `Backend`.
        stop: ends it, when set.
        tell: called when there are new answers.

    Raises:
        ConnectionError: the server was away for too long; start again to go on.
        LookupError: there is no such project.
        PermissionError: the server refuses the token.
        OSError, TypeError, ValueError: the session cannot begin, as where the component and
            the project do not fit, or the project has no tasks.
        RuntimeError: another session writes to the dataset.
    """
    state = state_of(dataset)
    place = Project(
        Client(url, token), project, pictures=dataset.with_suffix(".pictures"), from_name=from_name
    )
    interface = place.interface
    records = place.poll()
    if not place.sources:
        raise ValueError(
            f"project {project} of {url} has no tasks that can be used: import some first"
        )
    with hold_dataset(dataset):
        learner = open_session(
            find_saved(state) or source,
            list(place.sources.values()),
            journal=Journal(dataset),
            component=component,
            kind="choice" if interface.kind == "choices" else "manual",
            labels=interface.labels,
            blank=find_blank(interface),
            strategy=strategy,
            settings=settings,
            background=background,
        )

        def tell_and_save(progress: Progress) -> None:
            nonlocal n_saved
            if tell is not None:
                tell(progress)
            if progress.n_answers >= n_saved + save_every:
                n_saved = progress.n_answers
                learner.save(state)

        n_saved = len(learner.journal)
        try:
            loop = LabelStudioLoop(place, learner, ahead=ahead, every=learner.settings.batch)
            with ExitStack() as stack:
                if backend is not None:
                    stack.callback(Backend(loop, port=backend).close)
                loop.step(records)
                loop.run(poll=poll, stop=stop, tell=tell_and_save)
        finally:
            learner.close()
            learner.save(state)
    return learner


def find_blank(interface: Interface) -> str:
    """What a new pipeline has that can answer an interface; see `open_questions`."""
    if interface.kind == "choices":
        image = "image_multilabel" if interface.many else "image"
        text = "textcat_multilabel" if interface.many else "textcat"
        return image if interface.media == "image" else text
    return "ner" if interface.kind == "labels" else "boxes"
