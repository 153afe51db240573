"""Tables of Arrow, which Ray Data and Spark hand to their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacy_torch.inference.annotator import Annotator

if TYPE_CHECKING:
    import pyarrow  # pyright: ignore[reportMissingImports]


def annotate_table(table: pyarrow.Table, annotator: Annotator) -> pyarrow.Table:
    """The table with the columns "doc" (`Doc.to_bytes()`) and "error" at its end.

    All its other columns stay as they are. Where a document could not be annotated, "doc" is
    null, and "error", null elsewhere, says why.

    Raises:
        ValueError: the table has neither a column of texts nor one of documents.
    """
    import pyarrow  # pyright: ignore[reportMissingImports]

    given = [name for name in (annotator.text, "doc") if name in table.column_names]
    check_columns(table.column_names, annotator)
    rows = annotator(table.select(given).to_pylist())
    kept = table.select([name for name in table.column_names if name not in ("doc", "error")])
    docs = pyarrow.array([row["doc"] for row in rows], pyarrow.binary())
    errors = pyarrow.array([row["error"] for row in rows], pyarrow.string())
    return kept.append_column("doc", docs).append_column("error", errors)


def check_columns(names: list[str], annotator: Annotator) -> None:
    """Refuse a table without anything to annotate.

    Raises:
        ValueError: it has neither a column of texts nor one of documents.
    """
    if annotator.text not in names and "doc" not in names:
        raise ValueError(
            f"there is no column {annotator.text!r}, only {', '.join(map(repr, names))}: name the "
            "one with the texts, Annotator(..., text=...)"
        )
