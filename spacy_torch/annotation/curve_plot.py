"""Learning curves as an SVG that stands on its own, in a light and a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 16, 46
LEGEND_ROW, LEGEND_COLUMNS = 22, 2

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart; lighter
# ones of the same hues for a dark page.
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#a8538a", "#8a6d00", "#4a4a4a", "#3aa0d8", "#7a4b2a")
DARK = ("#5ab4f0", "#ff8f45", "#3fd6a8", "#e79cc6", "#f0d048", "#c8c8c8", "#9ad6f7", "#cf9f7a")
DASHES = ("", "7 3", "2 3", "9 3 2 3")

_STYLE = """
.plot{{--ink:#1b1f24;--soft:#6a737d;--line:#d8dee4;--paper:#fff;{light}}}
@media (prefers-color-scheme:dark){{.plot{{
--ink:#e6edf3;--soft:#9aa5b1;--line:#343b44;--paper:#15191f;{dark}}}}}
.plot text{{font:13px system-ui,sans-serif;fill:var(--ink)}}
.plot .soft{{fill:var(--soft)}}
.plot .grid{{stroke:var(--line);stroke-width:1}}
.plot .mark{{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:3 4}}
"""


@dataclass(frozen=True)
class Curve:
    """A line with a band around it; `low` and `high` may be the line itself."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw_curves(
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    marks: dict[str, float] | None = None,
) -> str:
    """An SVG with all curves, their bands and a legend.

    Args:
        marks: levels to show as dotted lines, by what is written on them.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(len(curve.x) for curve in curves):
        raise ValueError("there is nothing to draw: no curve has a point")
    marks = marks or {}
    levels = [value for curve in curves for value in (*curve.low, *curve.high)]
    y_ticks = find_ticks(min(*levels, *marks.values()), max(*levels, *marks.values()))
    x_ticks = find_ticks(0, max(max(curve.x) for curve in curves if len(curve.x)))
    plot = _Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    rows = -(-len(curves) // LEGEND_COLUMNS)
    height = HEIGHT + rows * LEGEND_ROW + 6
    # What goes to the back comes first: grid, marks, bands, lines.
    parts = [
        *(_grid_line(plot, y=tick) for tick in y_ticks),
        *(_grid_line(plot, x=tick) for tick in x_ticks),
        *(_mark(plot, name, level) for name, level in marks.items()),
        *(_band(plot, curve, place) for place, curve in enumerate(curves)),
        *(_line(plot, curve, place) for place, curve in reversed(list(enumerate(curves)))),
        f'<text class="soft" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="soft" transform="rotate(-90)" x="{-(TOP + HEIGHT - BOTTOM) / 2}" y="14" '
        f'text-anchor="middle">{escape(y_label)}</text>',
        *(_legend(curve, place) for place, curve in enumerate(curves)),
    ]
    title = escape(f"{y_label} against {x_label}: {', '.join(curve.name for curve in curves)}")
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img"><title>{title}</title><style>{_make_style()}</style>'
        f'<rect width="{WIDTH}" height="{height}" style="fill:var(--paper)"/>{"".join(parts)}</svg>'
    )


def find_ticks(low: float, high: float, *, number: int = 6) -> list[float]:
    """Round numbers around an interval, about as many as wanted."""
    rough = max(high - low, 1e-9) / number
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _make_style() -> str:
    def name(colours: Sequence[str]) -> str:
        return "".join(f"--c{place}:{colour};" for place, colour in enumerate(colours))

    return _STYLE.format(light=name(LIGHT), dark=name(DARK)).strip()


def _paint(place: int) -> tuple[str, str]:
    colour = f"var(--c{place % len(LIGHT)})"
    dash = DASHES[place % len(DASHES)]
    return colour, f"stroke-dasharray:{dash};" if dash else ""


def _grid_line(plot: _Frame, *, x: float | None = None, y: float | None = None) -> str:
    if y is not None:
        at = plot.y(y)
        return (
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
            f'<text class="soft" x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{y:g}</text>'
        )
    at = plot.x(x or 0.0)
    base = HEIGHT - BOTTOM
    return (
        f'<line class="grid" x1="{at}" x2="{at}" y1="{base}" y2="{base + 5}"/>'
        f'<text class="soft" x="{at}" y="{base + 18}" text-anchor="middle">{x:g}</text>'
    )


def _mark(plot: _Frame, name: str, level: float) -> str:
    at = plot.y(level)
    return (
        f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
        f'<text class="soft" x="{WIDTH - RIGHT - 4}" y="{at - 5}" text-anchor="end">'
        f"{escape(name)}</text>"
    )


def _band(plot: _Frame, curve: Curve, place: int) -> str:
    there = [f"{plot.x(x)},{plot.y(y)}" for x, y in zip(curve.x, curve.high, strict=True)]
    back = [f"{plot.x(x)},{plot.y(y)}" for x, y in zip(curve.x, curve.low, strict=True)]
    colour, _ = _paint(place)
    return (
        f'<polygon points="{" ".join([*there, *back[::-1]])}" style="fill:{colour};opacity:.13"/>'
    )


def _line(plot: _Frame, curve: Curve, place: int) -> str:
    points = " ".join(f"{plot.x(x)},{plot.y(y)}" for x, y in zip(curve.x, curve.y, strict=True))
    colour, dash = _paint(place)
    return (
        f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2.2;{dash}">'
        f"<title>{escape(curve.name)}</title></polyline>"
    )


def _legend(curve: Curve, place: int) -> str:
    row, column = divmod(place, LEGEND_COLUMNS)
    x = LEFT + column * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS
    y = HEIGHT + row * LEGEND_ROW + 8
    colour, dash = _paint(place)
    return (
        f'<line x1="{x}" x2="{x + 30}" y1="{y}" y2="{y}" '
        f'style="stroke:{colour};stroke-width:3;{dash}"/>'
        f'<text x="{x + 38}" y="{y + 4}">{escape(curve.name)}</text>'
    )
