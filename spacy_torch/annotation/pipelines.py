"""The pipeline of a session: from a config or trained, with labels, saved and taken up again."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.training import Example
from spacy.util import load_config, load_model_from_config
from thinc.api import fix_random_seed

from spacy_torch.annotation.kinds import Kind, find_questions
from spacy_torch.annotation.questions import Questions
from spacy_torch.annotation.tasks import Task, show
from spacy_torch.features.picture import Picture

logger = logging.getLogger(__name__)

# What a component may learn from before the first answer.
ENOUGH = 20_000
# Names of what learns fast, for pipelines that begin as `blank:en`.
FAST_TEXTCAT: dict[str, Any] = {
    "@architectures": "spacy-torch.FastTextCat.v1",
    "exclusive_classes": True,
}
BLANK: dict[str, tuple[str, dict[str, Any]]] = {
    "textcat": ("torch_textcat", {"model": FAST_TEXTCAT}),
    "textcat_multilabel": (
        "torch_textcat_multilabel",
        {"model": {**FAST_TEXTCAT, "exclusive_classes": False}},
    ),
    "ner": ("torch_ner", {}),
    "spans": ("torch_spancat", {}),
    "image": ("torch_image_classifier", {}),
    "image_multilabel": ("torch_image_classifier_multilabel", {}),
    "boxes": ("torch_object_detector", {}),
}


def open_questions(
    source: str | Path,
    pool: Sequence[Task],
    *,
    component: str | None = None,
    kind: Kind | None = None,
    labels: Sequence[str] = (),
    blank: str = "textcat",
    seed: int = 0,
) -> Questions:
    """Questions about a component of a pipeline that is ready to be asked.

    Args:
        source: a `.cfg` file of which the pipeline is made and initialized with the pool, the
            name or path of a trained one, or `blank:en` for a new one with one component.
        pool: what will be asked about; a new component may learn from it.
        component: its name; None for the first one that can be asked about.
        kind: see `find_questions`.
        labels: to be annotated; a trained component gets those that it does not have. None is
            needed where it has some.
        blank: what `blank:` begins with, one of `BLANK`.
        seed: of a new pipeline, so that the same one comes out every time.

    Raises:
        OSError: there is no such file or pipeline.
        ValueError: nothing can be asked about, there are no labels, or the initialization
            failed.
    """
    fix_random_seed(seed)
    nlp, is_new = _open(str(source), blank)
    questions = find_questions(nlp, component, kind)
    for label in labels:
        questions.component.add_label(label)
    if not questions.component.labels:
        raise ValueError(
            f"{questions.name!r} has no labels: name those that are to be annotated, such as "
            "--label CAT,DOG"
        )
    if is_new and questions.is_exclusive and len(questions.component.labels) == 1:
        raise ValueError(
            f"{questions.name!r} chooses one of several labels, and has only "
            f"{questions.component.labels[0]!r}: name another one, or ask whether it applies, "
            "by a component for any number of labels (--blank textcat_multilabel or "
            "image_multilabel)"
        )
    if is_new:
        _initialize(nlp, questions, pool)
    return find_questions(nlp, questions.name, kind, labels=labels or None)


def usable(tasks: Iterable[Task]) -> Iterator[Task]:
    """The tasks whose picture, if they have one, can be opened; others are named in the log."""
    for task in tasks:
        if task.get("image"):
            try:
                _ = Picture.from_source(task["image"]).size
            except (OSError, TypeError, ValueError) as error:
                logger.warning("the task %s is left out: %s", show(task), error)
                continue
        yield task


def save_pipeline(nlp: Language, path: Path) -> None:
    """Save a pipeline beside the one that was saved before, and put it in its place at once.

    A crash leaves one of the two, which `find_saved` finds.
    """
    new, old = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.old")
    shutil.rmtree(new, ignore_errors=True)
    nlp.to_disk(new)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def state_of(dataset: Path, pool: Path | None = None) -> Path:
    """Where the pipeline of a session is saved: `answers.model` beside `answers.jsonl`.

    Args:
        pool: the file with what is asked about, if there is one.

    Raises:
        ValueError: answers cannot be written to such a dataset.
    """
    state = dataset.with_suffix(".model")
    if dataset.is_dir() or dataset == state:
        raise ValueError(
            f"the dataset {dataset} must be a file for the answers, beside which the pipeline gets "
            "the ending .model: name it, for example, answers.jsonl"
        )
    if pool is not None and dataset.exists() and dataset.samefile(pool):
        raise ValueError(
            f"the dataset {dataset} is the file of what is asked about: name another one for the "
            "answers, which may be new"
        )
    return state


def find_saved(path: Path) -> Path | None:
    """Where `save_pipeline` has left a whole pipeline; None if nowhere."""
    places = (path, path.with_name(f"{path.name}.old"))
    return next((place for place in places if (place / "meta.json").is_file()), None)


def _open(source: str, blank: str) -> tuple[Language, bool]:
    if source.startswith("blank:"):
        if blank not in BLANK:
            raise ValueError(f"a blank pipeline can have one of {list(BLANK)}, got {blank!r}")
        nlp = spacy.blank(source.removeprefix("blank:"))
        factory, config = BLANK[blank]
        nlp.add_pipe(factory, config=config)
        return nlp, True
    if source.endswith(".cfg"):
        return load_model_from_config(load_config(source), auto_fill=True), True
    return spacy.load(source), False


def _initialize(nlp: Language, questions: Questions, pool: Sequence[Task]) -> None:
    docs = [questions.make_doc(task) for task in islice(pool, ENOUGH)]
    if not docs:
        raise ValueError("the pool is empty: there is nothing to ask about")
    examples = [Example(doc, doc) for doc in docs]
    try:
        nlp.initialize(lambda: examples)
    except ValueError as error:
        raise ValueError(
            f"the pipeline cannot be initialized from documents without annotations: {error}; "
            "train it first, and give the trained pipeline in the place of its config"
        ) from error


def split_labels(text: str) -> list[str]:
    """The labels of a comma-separated list, or of a file with one per line or a JSON list.

    Raises:
        ValueError: a file holds no labels.
    """
    path = Path(text)
    if text and path.suffix in (".txt", ".json") and path.is_file():
        content = path.read_text(encoding="utf8")
        found = json.loads(content) if path.suffix == ".json" else content.splitlines()
        if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
            raise ValueError(f"{path}: expected a list of labels, got {content[:60]!r}")
    else:
        found = text.split(",")
    return [label.strip() for label in found if label.strip()]
