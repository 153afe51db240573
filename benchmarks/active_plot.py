"""Draw the learning curves that were measured, for the README.

python -m benchmarks.active_plot
"""

from __future__ import annotations

from typing import Any

from benchmarks.results import read_results
from benchmarks.settings import ROOT
from spacy_torch.annotation.curve_plot import Curve, draw_curves

RESULTS = ROOT / "assets" / "benchmarks" / "active.json"
ROWS = ("active_banking77", "active_sst2")


def main() -> None:
    """Write an SVG for each row that has curves."""
    rows = read_results(RESULTS)["rows"]
    for row in ROWS:
        for figure in rows.get(row, {"figures": []})["figures"]:
            if "curves" in figure["details"]:
                path = ROOT / "assets" / "benchmarks" / f"{row}.svg"
                path.write_text(draw(figure["details"]) + "\n", encoding="utf-8")
                print(path)


def draw(details: dict[str, Any]) -> str:
    """The curves of a figure's details."""
    curves = [
        Curve(name, one["answers"], one["mean"], one["low"], one["high"])
        for name, one in details["curves"].items()
    ]
    return draw_curves(
        curves,
        x_label="answers",
        y_label="accuracy",
        marks={"always the same answer": details["chance"]},
    )


if __name__ == "__main__":
    main()
