"""Labelling in the terminal."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import spacy
from spacy.cli._util import Arg, Opt, app
from wasabi import msg

from spacy_torch.features.boxes import set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture
from spacy_torch.show import show_doc


@app.command("torch-teach")
def torch_teach(
    pipeline: str = Arg(..., help="Config file, trained pipeline, or blank:en for a new one"),
    pool_path: Path = Arg(..., help="JSONL file of texts or images to ask about", exists=True),
    dataset: Path = Opt(..., "--dataset", "-d", help="JSONL file for the answers; it may exist"),
    label: str = Opt("", "--label", "-l", help="Comma-separated labels, or a file with them"),
    component: str = Opt("", "--component", "-c", help="Default: the first one to ask about"),
    kind: str = Opt("", "--kind", "-k", help="binary, choice or manual (default: as suits it)"),
    blank: str = Opt("textcat", "--blank", help="For blank: textcat, ner, spans, image, boxes"),
    strategy: str = Opt("Margin", "--strategy", "-s", help="Which questions to ask first"),
    epsilon: float = Opt(0.1, "--epsilon", "-e", help="Share of questions that chance chooses"),
    view: Path | None = Opt(None, "--view", help="PNG that shows the picture asked about"),
) -> None:
    """Label in the terminal: the model asks what it wants to know most, and learns at once.

    No answer is lost, whatever happens. To go on another day, give the same command again.
    """
    from spacy_torch.annotation.active import Settings
    from spacy_torch.annotation.pipelines import split_labels
    from spacy_torch.annotation.terminal import teach

    try:
        teach(
            pipeline,
            pool_path,
            dataset,
            lines=sys.stdin,
            write=partial(print, flush=True),
            component=component or None,
            kind=cast(Any, kind or None),
            labels=split_labels(label),
            blank=blank,
            strategy=strategy,
            settings=Settings(batch=5, epsilon=epsilon),
            draw=partial(_draw_task, path=view) if view is not None else None,
        )
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        msg.fail("Cannot go on", str(error), exits=1)
    except KeyboardInterrupt:
        msg.info(f"Broken off; all answers are in {dataset}")


def _draw_task(task: dict[str, Any], *, path: Path) -> None:
    """Show the picture of a task, with its boxes, in a file that a viewer reads again."""
    if "image" not in task:
        return
    doc = make_image_doc(spacy.blank("image").vocab, Picture.from_source(task["image"]))
    sides = ("label", "x", "y", "width", "height")
    set_boxes(doc, [[span[side] for side in sides] for span in task.get("spans", [])])
    show_doc(doc).save(path, format="PNG")
