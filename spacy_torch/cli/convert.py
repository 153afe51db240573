"""Texts with labels become training data."""

from pathlib import Path

import spacy
from spacy.cli._util import Arg, Opt, app
from wasabi import msg

from spacy_torch.training.held_out import hold_out
from spacy_torch.training.labelled_text import (
    label_names,
    read_labelled_text,
    write_labelled_text,
)


@app.command("torch-convert")
def torch_convert(
    input_path: Path = Arg(..., help="CSV, TSV or JSONL file", exists=True, dir_okay=False),
    output_path: Path = Arg(..., help="The .spacy file to write"),
    text: str = Opt("text", "--text", "-t", help="Column that holds the text"),
    label: str = Opt("label", "--label", "-l", help="Column that holds the label"),
    many: bool = Opt(False, "--many", "-m", help="A row has any number of labels, not one"),
    separator: str = Opt(",", "--separator", "-s", help="Between the labels of a row, with --many"),
    columns: str = Opt("", "--columns", "-c", help="Comma-separated names, if there is no header"),
    dev_split: float = Opt(0.0, "--dev-split", "-d", help="Share of every label to hold out"),
    dev_path: Path | None = Opt(
        None, "--dev-output", help="Where to hold it out (default: dev.spacy beside the output)"
    ),
    seed: int = Opt(0, "--seed", help="For the rows that are held out"),
    lang: str = Opt("en", "--lang", help="Language whose tokenizer is used"),
) -> None:
    """Convert texts with labels to spaCy's binary training data.

    With --dev-split, a part of the rows, drawn label by label, goes to a second file.
    """
    held_path = dev_path or output_path.with_name("dev.spacy")
    try:
        if dev_split and held_path.resolve() == output_path.resolve():
            raise ValueError(
                f"the part that --dev-split holds out would overwrite the rest, as both go to "
                f"{output_path}: name another file with --dev-output"
            )
        rows = read_labelled_text(
            input_path,
            text=text,
            label=label,
            labels="many" if many else "one",
            separator=separator,
            columns=columns.split(",") if columns else None,
        )
        train, dev = hold_out(rows, fraction=dev_split, seed=seed)
    except ValueError as error:
        msg.fail("Cannot convert", str(error), exits=1)
    names = label_names(rows)
    nlp = spacy.blank(lang)
    parts = [(train, output_path)]
    if dev:
        parts.append((dev, held_path))
    for part, path in parts:
        write_labelled_text(part, path, nlp=nlp, names=names)
        msg.good(f"{len(part)} texts with {len(names)} labels: {path}")
