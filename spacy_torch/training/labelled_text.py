"""Texts with labels from CSV, TSV and JSONL files, as rows, examples and ``.spacy`` files."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_torch.bridge.atomic import replacing
from spacy_torch.training.lines import read_jsonl, read_lines

SUFFIXES = (".csv", ".tsv", ".jsonl")


class LabelledText(NamedTuple):
    """A text and the labels that apply to it."""

    text: str
    labels: tuple[str, ...]


class LabelledTextReader:
    """Gives the examples of one file; what ``[corpora.train]`` resolves to."""

    def __init__(
        self,
        path: Path,
        *,
        text: str = "text",
        label: str = "label",
        labels: Literal["one", "many"] = "one",
        separator: str = ",",
        columns: list[str] | None = None,
        limit: int = 0,
    ) -> None:
        if limit < 0:
            raise ValueError(f"limit must be >= 0 (0 reads every row), got {limit}")
        self.path = path
        self.text = text
        self.label = label
        self.labels: Literal["one", "many"] = labels
        self.separator = separator
        self.columns = columns
        self.limit = limit

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield an example per row, in the order of the file."""
        rows = read_labelled_text(
            self.path,
            text=self.text,
            label=self.label,
            labels=self.labels,
            separator=self.separator,
            columns=self.columns,
        )
        names = label_names(rows)
        for row in rows[: self.limit or None]:
            yield Example(nlp.make_doc(row.text), make_doc(nlp, row, names=names))


def build_labelled_text(
    path: str | Path,
    text: str = "text",
    label: str = "label",
    labels: Literal["one", "many"] = "one",
    separator: str = ",",
    columns: list[str] | None = None,
    limit: int = 0,
) -> LabelledTextReader:
    """Texts and their categories, read from a CSV, TSV or JSONL file."""
    return LabelledTextReader(
        Path(path),  # a config hands over a string
        text=text,
        label=label,
        labels=labels,
        separator=separator,
        columns=columns,
        limit=limit,
    )


def read_labelled_text(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    labels: Literal["one", "many"] = "one",
    separator: str = ",",
    columns: list[str] | None = None,
) -> list[LabelledText]:
    """Read all rows of a file; its suffix says how they are written.

    Args:
        path: A ``.csv`` (comma, double quotes), ``.tsv`` (tab, no quoting) or ``.jsonl`` file in
            UTF-8.
        text: The column (JSONL: the key) that holds the text.
        label: The column (JSONL: the key) that holds the label or labels.
        labels: ``"one"`` label on every row, or ``"many"``, which includes none.
        separator: Between the labels of a row when there are ``"many"``. JSONL may give a list.
        columns: The names of the columns where a CSV or TSV file has no header line.

    Raises:
        ValueError: A row cannot be read; the message names the file and the line.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} must end in one of {', '.join(SUFFIXES)}, got {path.suffix!r}")
    is_table = path.suffix != ".jsonl"
    records = _table_records(path, columns=columns) if is_table else read_jsonl(path)
    rows: list[LabelledText] = []
    for line, record in records:
        where = f"{path}, line {line}"
        for argument, name in {"text": text, "label": label}.items():
            if name not in record:
                place = f"{path}: the header" if is_table else f"{where}: the object"
                free = [str(key) for key in record if key not in (text, label)]
                raise ValueError(
                    f"{place} has no {'column' if is_table else 'key'} {name!r}, only "
                    f"{', '.join(repr(str(key)) for key in record)}: "
                    + _how_to_name(argument, free[0] if len(free) == 1 else "NAME")
                    + ("; if the first line is no header, give --columns" if is_table else "")
                )
        rows.append(
            LabelledText(
                _text(record[text], name=text, where=where),
                _labels(record[label], labels=labels, separator=separator, where=where),
            )
        )
    if not rows:
        raise ValueError(f"{path} has no rows: expected at least one text and its label")
    return rows


def label_names(rows: Iterable[LabelledText]) -> list[str]:
    """All labels of the rows, sorted, each once."""
    return sorted({label for row in rows for label in row.labels})


def make_doc(nlp: Language, row: LabelledText, *, names: Iterable[str]) -> Doc:
    """The text as a Doc with 1.0 for each label of the row and 0.0 for the other names."""
    doc = nlp.make_doc(row.text)
    doc.cats = {name: float(name in row.labels) for name in names}
    return doc


def write_labelled_text(
    rows: Iterable[LabelledText], path: str | Path, *, nlp: Language, names: Iterable[str]
) -> None:
    """Write rows as a ``.spacy`` file, which ``spacy.Corpus.v1`` reads."""
    path = Path(path)
    names = list(names)
    docs = DocBin(attrs=["ORTH", "SPACY"], docs=(make_doc(nlp, row, names=names) for row in rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(docs.to_bytes())


def _table_records(
    path: Path, *, columns: list[str] | None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and cells by column name; a row that spans lines counts from its first."""
    lines = (line for _, line in read_lines(path))
    if path.suffix == ".csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    start = 1
    try:
        for cells in reader:
            if columns is None:
                columns = cells
            elif cells:  # not a blank line
                if len(cells) != len(columns):
                    raise ValueError(
                        f"{path}, line {start}: expected {len(columns)} columns "
                        f"({', '.join(columns)}), got {len(cells)}"
                    )
                yield start, dict(zip(columns, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        hint = "check its quotes, or keep the texts in a .jsonl file"
        raise ValueError(f"{path}, line {start}: {error}; {hint}") from error


def _how_to_name(argument: str, name: str) -> str:
    return f'name it with --{argument} {name}, in a config with {argument} = "{name}"'


def _text(value: Any, *, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name!r} must be text, got {value!r}")
    if not value.strip():
        raise ValueError(f"{where}: {name!r} is empty; remove the row")
    return value


def _labels(
    value: Any, *, labels: Literal["one", "many"], separator: str, where: str
) -> tuple[str, ...]:
    """The labels of a cell, stripped; integers are taken as names."""
    if labels == "many":
        parts = value.split(separator) if isinstance(value, str) else value
        if not isinstance(parts, list):
            raise ValueError(
                f"{where}: the labels must be a list or text separated by {separator!r}, "
                f"got {value!r}"
            )
        if value == "":
            parts = []
    else:
        parts = [value]
    names: list[str] = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise ValueError(f"{where}: a label must be text or a whole number, got {part!r}")
        name = str(part).strip()
        if not name:
            raise ValueError(f"{where}: the label is empty; remove the row or give it a label")
        names.append(name)
    return tuple(dict.fromkeys(names))
