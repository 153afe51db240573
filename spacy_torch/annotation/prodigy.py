"""Recipes for Prodigy, which imports this file by the entry points `prodigy_recipes`."""

import base64
import logging
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import Kind
from spacy_torch.annotation.pipelines import split_labels, usable
from spacy_torch.annotation.session import open_session
from spacy_torch.annotation.tasks import Task, check_answer, set_hashes

logger = logging.getLogger(__name__)

# No `from __future__ import annotations`: Prodigy reads the types of a recipe's arguments.
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
# For each argument: the help, and a letter for those that are options.
_ARGUMENTS = {
    "dataset": ("Dataset to save answers to", ""),
    "pipeline": ("Trained pipeline, config file, or blank:en", ""),
    "source": ("Texts or images to ask about", ""),
    "label": ("Comma-separated labels, or a file with them", "l"),
    "component": ("Component to ask about (default: the first that can be)", "c"),
    "strategy": ("Query strategy, such as Margin, Entropy, HighScore, Random", "s"),
    "epsilon": ("Share of questions that chance chooses", "e"),
    "exclude": ("Comma-separated datasets whose tasks are left out", "x"),
    "output": ("Folder to save the pipeline to at the end", "o"),
    "binary": ("Ask yes or no about one label, also where they exclude each other", "B"),
}


def session(
    *,
    dataset: str,
    pipeline: str,
    source: str,
    label: str = "",
    component: str = "",
    strategy: str = "Margin",
    epsilon: float = 0.1,
    exclude: str = "",
    output: str = "",
    kind: Kind | None = None,
    blank: str = "textcat",
) -> dict[str, Any]:
    """The components of a recipe: what Prodigy asks, saves and tells the model.

    The answers that the dataset has already are learned first. Pictures are sent to the
    browser as data, and saved as paths.
    """
    labels = split_labels(label)
    pool = [_by_path(task) for task in usable(map(_by_path, _read_source(source)))]
    journal = Journal(None)
    journal.write(task for task in map(set_hashes, _read_dataset(dataset)) if "answer" in task)
    learner = open_session(
        pipeline,
        pool,
        journal=journal,
        component=component or None,
        kind=kind,
        labels=labels,
        blank=blank,
        strategy=strategy,
        settings=Settings(epsilon=epsilon),
    )
    questions = learner.questions

    def validate_answer(task: Task) -> None:
        check_answer(task)
        questions.check(task)

    def update(tasks: list[Task]) -> dict[str, float]:
        learner.receive(_by_path(task) for task in tasks)
        return {}

    def progress(*args: Any, **kwargs: Any) -> float:
        return 1 - learner.progress().n_left / len(learner.pool)

    def on_exit(*args: Any, **kwargs: Any) -> None:
        learner.close()
        if output:
            learner.save(Path(output))

    is_choice = questions.view_id == "choice"
    is_one_of = is_choice and questions.is_exclusive
    return {
        "dataset": dataset,
        "view_id": questions.view_id,
        "stream": _stream(learner),
        "update": update,
        "progress": progress,
        "exclude": [name for name in exclude.split(",") if name],
        "before_db": _by_paths,
        "validate_answer": validate_answer,
        "on_exit": on_exit,
        "config": {
            "lang": learner.nlp.lang,
            "labels": labels or list(questions.component.labels),
            "choice_style": "single" if is_one_of else "multiple",
            "choice_auto_accept": is_one_of,
            # Several questions about one input are several tasks.
            "exclude_by": "task",
            "auto_count_stream": False,
            "image_manual_modes": ["rect"],
        },
    }


def _stream(learner: ActiveLearner) -> Iterator[Task]:
    # Prodigy asks for questions long before it hands the answers to those before.
    while tasks := learner.more():
        yield from map(_with_data, tasks)
    if learner.progress().n_left == len(learner.pool) and not learner.journal.pending:
        logger.warning(
            "the model finds nothing to ask about yet: show it a few first, with the recipe for "
            "corrections and the same dataset"
        )


def _make_recipe(
    name: str, *, blank: str, kind: Kind | None, about: str
) -> Callable[..., dict[str, Any]]:
    def recipe(
        dataset: str,
        pipeline: str,
        source: str,
        label: str = "",
        component: str = "",
        strategy: str = "Margin",
        epsilon: float = 0.1,
        exclude: str = "",
        output: str = "",
        binary: bool = False,
    ) -> dict[str, Any]:
        return session(
            dataset=dataset,
            pipeline=pipeline,
            source=source,
            label=label,
            component=component,
            strategy=strategy,
            epsilon=epsilon,
            exclude=exclude,
            output=output,
            kind="binary" if binary else kind,
            blank=blank,
        )

    recipe.__name__ = recipe.__qualname__ = name.replace(".", "_")
    recipe.__doc__ = f"{about} The model learns from each answer, and chooses what to ask."
    return _register(name, recipe)


def _register(name: str, recipe: Callable[..., Any]) -> Callable[..., Any]:
    """Tell Prodigy of a recipe and its arguments, in the style that its version knows."""
    try:
        import prodigy  # pyright: ignore[reportMissingImports]
    except ImportError:  # someone reads this file without having Prodigy
        return recipe
    try:
        from prodigy.core import Arg  # pyright: ignore[reportMissingImports]
    except ImportError:
        Arg = None
    arguments: dict[str, Any] = {}
    for key, (text, letter) in _ARGUMENTS.items():
        kind = {"epsilon": float, "binary": bool}.get(key, str)
        if Arg is not None:
            flags = (f"--{key}", f"-{letter}") if letter else ()
            arguments[key] = Arg(*flags, help=text)
        elif not letter:
            arguments[key] = (text, "positional", None, kind)
        else:
            arguments[key] = (text, "flag" if kind is bool else "option", letter, kind)
    register: Any = prodigy.recipe  # pyright: ignore[reportAttributeAccessIssue]
    return register(name, **arguments)(recipe)


def _read_source(source: str) -> Iterable[Task]:
    folder = Path(source)
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        return [{"image": str(path)} for path in paths]
    try:
        from prodigy.components.stream import get_stream  # pyright: ignore[reportMissingImports]
    except ImportError:
        from prodigy.components.loaders import JSONL  # pyright: ignore[reportMissingImports]

        return JSONL(source)
    return get_stream(source, rehash=True, dedup=True)


def _read_dataset(name: str) -> Iterable[Task]:
    from prodigy.components.db import connect  # pyright: ignore[reportMissingImports]

    database = connect()
    read = getattr(database, "get_dataset_examples", None) or database.get_dataset
    return read(name) or ()  # None of a dataset that does not exist yet


def _with_data(task: Task) -> Task:
    """The task with the content of its picture, which the browser cannot read from a path."""
    image = task.get("image")
    if not image or image.startswith("data:"):
        return task
    kind = mimetypes.guess_type(image)[0] or "image/png"
    data = base64.b64encode(Path(image).read_bytes()).decode("ascii")
    return {**task, "image": f"data:{kind};base64,{data}", "path": image}


def _by_path(task: Task) -> Task:
    """The task with the path of its picture instead of the content, where it has one."""
    if task.get("path") and str(task.get("image", "")).startswith("data:"):
        return {**task, "image": task["path"]}
    return task


def _by_paths(tasks: list[Task]) -> list[Task]:
    return [_by_path(task) for task in tasks]


textcat_teach = _make_recipe(
    "torch.textcat.teach", blank="textcat", kind=None, about="Which label does a text have?"
)
textcat_correct = _make_recipe(
    "torch.textcat.correct",
    blank="textcat",
    kind="manual",
    about="Correct the labels that a model gives to texts.",
)
ner_teach = _make_recipe(
    "torch.ner.teach", blank="ner", kind="binary", about="Is this an entity of this label?"
)
ner_correct = _make_recipe(
    "torch.ner.correct", blank="ner", kind="manual", about="Correct the entities of texts."
)
spans_teach = _make_recipe(
    "torch.spans.teach", blank="spans", kind="binary", about="Is this a span of this label?"
)
spans_correct = _make_recipe(
    "torch.spans.correct", blank="spans", kind="manual", about="Correct the spans of texts."
)
image_teach = _make_recipe(
    "torch.image.teach", blank="image", kind=None, about="Which label does a picture have?"
)
image_correct = _make_recipe(
    "torch.image.correct",
    blank="image",
    kind="manual",
    about="Correct the labels that a model gives to pictures.",
)
image_detect = _make_recipe(
    "torch.image.detect",
    blank="boxes",
    kind="binary",
    about="Is there an object of this label in this box?",
)
image_detect_correct = _make_recipe(
    "torch.image.detect.correct",
    blank="boxes",
    kind="manual",
    about="Correct the boxes in pictures.",
)
