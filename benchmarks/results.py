"""The results file, written row by row, and the table that it prints as."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.machine import machine_facts

HEADER: tuple[str, ...] = ("what", "against", "aim", "measured", "min - max", "met")


def read_results(path: Path) -> dict[str, Any]:
    """The rows measured so far; none if there is no file yet."""
    if not path.exists():
        return {"rows": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def write_row(path: Path, row: str, figures: Sequence[Figure], *, quick: bool) -> None:
    """Put one row's figures into the file, in place of those it had; the others stay."""
    results = read_results(path)
    results["rows"][row] = {
        "figures": [figure.to_dict() for figure in figures],
        "quick": quick,
        "machine": machine_facts(),
    }
    write_json(path, results)


def write_json(path: Path, value: Any) -> None:
    """Write the whole file, or leave the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def format_table(results: dict[str, Any], order: Sequence[str]) -> str:
    """All figures as a table of text, in the order of the rows given."""
    lines = [HEADER, *map(_cells, in_order(results, order))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def format_markdown(results: dict[str, Any], order: Sequence[str]) -> str:
    """All figures as a table in Markdown, in the order of the rows given."""
    return format_figures(in_order(results, order))


def format_figures(figures: Sequence[dict[str, Any]]) -> str:
    """Figures as a table in Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *map(_cells, figures)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_order(results: dict[str, Any], order: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of the rows given, as far as they were measured."""
    rows = results["rows"]
    return [figure for row in order if row in rows for figure in rows[row]["figures"]]


def _cells(figure: dict[str, Any]) -> tuple[str, ...]:
    unit = f" {figure['unit']}" if figure["unit"] not in ("", "x") else ""
    sign = ">=" if figure["better"] == "higher" else "<="
    aim = "-" if figure["aim"] is None else f"{sign} {figure['aim']:g}{unit}"
    if figure["median"] is None:
        measured, spread = "not reached", ""
    else:
        measured = f"{figure['median']:.3g}{unit}"
        spread = f"{figure['min']:.3g} - {figure['max']:.3g}"
    met = {None: "-", True: "yes", False: "NO"}[figure["met"]]
    return figure["name"], figure["peer"], aim, measured, spread, met
