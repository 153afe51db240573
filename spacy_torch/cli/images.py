"""Annotated images, from one format to another."""

from pathlib import Path
from typing import Any

import spacy
from spacy.cli._util import Arg, Opt, app
from wasabi import msg

from spacy_torch.training.image_formats import (
    READERS,
    check_pictures,
    guess_format,
    read_images,
    save_pictures,
    split_images,
    write_images,
)

_FORMATS = ", ".join(READERS)


@app.command("torch-images")
def torch_images(
    input_path: Path = Arg(..., help="File or folder of annotated images", exists=True),
    output_path: Path = Arg(..., help="File or folder to write"),
    source: str = Opt("", "--from", "-f", help=f"Format: {_FORMATS} (default: as it looks)"),
    target: str = Opt("", "--to", "-t", help="Format to write (default: spacy for .spacy)"),
    images: Path | None = Opt(
        None, "--images", "-i", help="Folder of the pictures (default: as the format has it)"
    ),
    split: str = Opt("", "--split", "-s", help="Which list of names to read (voc)"),
    labels: str = Opt("", "--labels", "-l", help="Comma-separated; all others are a mistake"),
    strict: bool = Opt(False, "--strict", help="Refuse boxes that stand out of their pictures"),
    allow_outside: bool = Opt(False, "--allow-outside", help="Paths may lead out of the folder"),
    relative_to: Path | None = Opt(
        None, "--relative-to", help="Folder from which paths are written (default: of the pictures)"
    ),
    save: Path | None = Opt(None, "--save", help="Folder to save pictures in that have no file"),
    check: bool = Opt(False, "--check", help="Decode all pictures, leave out the damaged ones"),
    dev_split: float = Opt(0.0, "--dev-split", "-d", help="Share of the images to hold out"),
    dev_path: Path | None = Opt(
        None, "--dev-output", help="Where to hold them out (default: dev beside the output)"
    ),
    seed: int = Opt(0, "--seed", help="For the images that are held out"),
    lang: str = Opt("image", "--lang", help="Language whose tokenizer reads captions"),
) -> None:
    """Convert annotated images: boxes and classes, from one format to another.

    What the output has no place for is counted and said.
    """
    settings: dict[str, Any] = {"images": images}
    settings |= {"split": split} if split else {}
    settings |= {"labels": labels.split(",")} if labels else {}
    settings |= {"outside": "error"} if strict else {}
    settings |= {"allow_outside": True} if allow_outside else {}
    try:
        reader = read_images(input_path, source or guess_format(input_path), **settings)
        if not target and output_path.suffix != ".spacy":
            raise ValueError(f"name the format to write with --to: {_FORMATS}")
        annotated = reader.images
        annotated, wrong = check_pictures(annotated) if check else (annotated, [])
        if save is not None:
            annotated = save_pictures(annotated, save)
        held_path = dev_path or output_path.with_stem("dev")
        if dev_split and held_path.resolve() == output_path.resolve():
            raise ValueError(f"both parts would go to {output_path}: name one with --dev-output")
        train, dev = split_images(annotated, fraction=dev_split, seed=seed)
        parts = {output_path: train, **({held_path: dev} if dev else {})}
        reports = [reader.noticed.describe(), *(f"left out: {reason}" for reason in wrong)]
        for path, part in parts.items():
            noticed = write_images(
                part, path, target or "spacy", nlp=spacy.blank(lang), folder=relative_to
            )
            reports.append(noticed.describe())
    except (OSError, ValueError) as error:
        msg.fail("Cannot convert", str(error), exits=1)
    for report in filter(None, reports):
        msg.warn(report)
    for path, part in parts.items():
        n_boxes = sum(len(image.boxes or ()) for image in part)
        names = {box.label for image in part for box in image.boxes or ()}
        names |= {name for image in part for name in image.cats}
        msg.good(f"{len(part)} images, {n_boxes} boxes, {len(names)} labels: {path}")
