"""A simulation as one HTML page that needs nothing beside it: no script, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from spacy_torch.annotation.curve_plot import Curve, draw_curves
from spacy_torch.annotation.simulation import Simulation
from spacy_torch.annotation.subject import Shown
from spacy_torch.annotation.summary import (
    TARGETS,
    Summary,
    compare_first,
    compare_lessons,
    find_best,
    say,
    summarize,
)
from spacy_torch.annotation.tasks import Task

LAST_QUESTIONS = 20
NEVER = "–"

_STYLE = """
:root{color-scheme:light dark;
--ink:#1b1f24;--soft:#59636e;--line:#d8dee4;--paper:#fff;--good:#0a6b4b;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{
--ink:#e6edf3;--soft:#9aa5b1;--line:#343b44;--paper:#15191f;--good:#3fd6a8;--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.2}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
.soft{color:var(--soft)}
.good{color:var(--good)}
.bad{color:var(--bad)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);
vertical-align:top;font-variant-numeric:tabular-nums}
thead th{vertical-align:bottom;font-weight:600}
.text{text-align:left}
td.text{overflow-wrap:anywhere;min-width:9rem}
svg{width:100%;height:auto;display:block}
input[name=axis]{position:absolute;opacity:0}
label{display:inline-block;padding:.25rem .8rem;border:1px solid var(--line);border-radius:1rem;
cursor:pointer;color:var(--soft);margin-right:.3rem}
#by-answers:checked~label[for=by-answers],#by-minutes:checked~label[for=by-minutes]{
color:var(--paper);background:var(--ink)}
input[name=axis]:focus-visible+label{outline:2px solid var(--ink);outline-offset:2px}
.axis{display:none;margin-top:.7rem}
#by-answers:checked~.answers,#by-minutes:checked~.minutes{display:block}
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style></head><body>
<h1>{title}</h1>
<p class="soft">{subtitle}</p>
<h2>What came out</h2>
<ul>{said}</ul>
<h2>Learning curves</h2>
<p class="soft">Mean of {seeds} seeds; the bands are 95 % intervals of the mean.</p>
<div>
<input type="radio" name="axis" id="by-answers" checked>
<label for="by-answers">by answers</label>
<input type="radio" name="axis" id="by-minutes">
<label for="by-minutes">by minutes</label>
<div class="axis answers">{by_answers}</div>
<div class="axis minutes">{by_minutes}</div>
</div>
<h2>Everyone</h2>
<div class="wide">{everyone}</div>
<p class="soft">{everyone_note}</p>
<h2>Against the others: {first}</h2>
<div class="wide">{differences}</div>
{lessons}
<h2>The last questions: {first}</h2>
<p class="soft">{questions_note}</p>
<div class="wide">{questions}</div>
<h2>How it was done</h2>
<ul>{how}</ul>
</body></html>
"""


def write_report(simulation: Simulation, path: str | Path, *, title: str = "") -> None:
    """Write the page; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_report(simulation, title=title), encoding="utf8")


def make_report(simulation: Simulation, *, title: str = "") -> str:
    """The page as text."""
    data, protocol = simulation.data, simulation.protocol
    found = summarize(simulation)
    title = title or f"Learning from the first {protocol.answers} answers"
    return _PAGE.format(
        style=_STYLE,
        title=escape(title),
        subtitle=escape(
            f"{len(data.pool):,} inputs to ask about, {len(data.test):,} to be tested on, "
            f"{len(data.labels)} labels; a score is the {simulation.metric} on the test."
        ),
        said="".join(f"<li>{escape(sentence)}</li>" for sentence in say(simulation)),
        seeds=protocol.seeds,
        by_answers=draw_simulation(simulation),
        by_minutes=draw_simulation(simulation, seconds=protocol.seconds),
        everyone=_everyone(simulation, found),
        everyone_note=escape(_note_everyone(simulation)),
        first=escape(simulation.names[0]),
        differences=_differences(simulation),
        lessons=_lessons(simulation),
        questions_note=escape(
            "Of the first seed, the last one first. The score is how sure the model was: of a "
            "yes-or-no question that the answer is yes, of a choice that its first guess is right, "
            "of all marks at once that the least sure one is there."
        ),
        questions=_questions(simulation),
        how="".join(f"<li>{escape(line)}</li>" for line in _describe(simulation)),
    )


def draw_simulation(simulation: Simulation, *, seconds: float | None = None) -> str:
    """The curves of all contestants as an SVG, over answers, or over minutes of so many seconds."""
    unit = 1.0 if seconds is None else seconds / 60
    curves = [
        Curve(
            one.name, [unit * n_answers for n_answers in one.answers], one.curve, one.low, one.high
        )
        for one in summarize(simulation)
    ]
    marks = {"always the same answer": simulation.chance} if simulation.chance else {}
    if simulation.ceiling is not None:
        marks["the whole pool answered"] = simulation.ceiling
    label = "answers" if seconds is None else f"minutes, at {seconds:g} seconds an answer"
    return draw_curves(curves, x_label=label, y_label=simulation.metric, marks=marks)


def _everyone(simulation: Simulation, found: Sequence[Summary]) -> str:
    header = [
        "", "area", "at the end", *(f"answers to {share:.0%}" for share in TARGETS),
        f"minutes to {TARGETS[1]:.0%}", "found", "calibration error", "asking, ms", "learning, ms",
    ]  # fmt: skip
    return _table(header, (_row(one, simulation.protocol.seconds) for one in found))


def _row(one: Summary, seconds: float) -> list[Any]:
    low, high = one.area_interval
    targets = [one.to_target[share] for share in TARGETS]
    middle = targets[1]
    return [
        one.name,
        f"{one.area:.3f} ({low:.3f}–{high:.3f})",
        f"{one.curve[-1]:.3f}",
        *(NEVER if target is None else target for target in targets),
        NEVER if middle is None else f"{middle * seconds / 60:.1f}",
        f"{one.n_found:.1f}",
        f"{one.calibration_error:.3f}",
        *(
            "" if times is None else f"{times[0]:.0f} / {times[1]:.0f}"
            for times in (one.asking, one.learning)
        ),
    ]


def _note_everyone(simulation: Simulation) -> str:
    best = find_best(simulation)
    what = (
        "the score with the whole pool answered"
        if simulation.ceiling is not None
        else "the best mean score of all curves"
    )
    rarest = simulation.data.rarest
    return (
        f"Area: the mean score of all checkpoints, with its 95 % interval. Targets are shares of "
        f"{best:.3f}, {what}; {NEVER}: not reached. Found: inputs with the rarest label, {rarest} "
        f"({simulation.data.count(rarest):,} in the pool), among those asked about. Calibration "
        "error: at the end, 0 is best. Times: median / 95th percentile for a batch."
    )


def _differences(simulation: Simulation) -> str:
    rows = [
        [
            name,
            f"{one.mean:+.3f}",
            f"{one.low:+.3f} to {one.high:+.3f}",
            f"{one.wins} / {one.ties} / {one.losses}",
            ({"better": "good", "worse": "bad"}.get(one.verdict, "soft"), one.verdict),
        ]
        for name, one in compare_first(simulation).items()
    ]
    return _table(["", "area", "95 % interval", "wins / ties / losses", "it is"], rows)


def _lessons(simulation: Simulation) -> str:
    found = compare_lessons(simulation)
    if not found:
        return ""
    teachers = list(found[0].scores)
    rows: list[list[Any]] = []
    for lesson in found:
        scores = [lesson.scores[teacher] for teacher in teachers]
        row = [
            lesson.name,
            *(f"{mean:.3f} ({low:.3f}–{high:.3f})" for mean, (low, high) in scores),
        ]
        for one in lesson.gain.values():
            kind = {"better": "good", "worse": "bad"}.get(one.verdict, "soft")
            row += [f"{one.mean:+.3f}", f"{one.low:+.3f} to {one.high:+.3f}", (kind, one.verdict)]
        rows.append(row)
    header = ["", *(f"taught by {teacher}" for teacher in teachers)]
    header += ["first against other", "95 % interval", "it is"] * len(found[0].gain)
    note = (
        f"The {simulation.metric} of other models that learn, from nothing, all that a contestant "
        "was told in a session: whether labels that one model asked for are good for others."
    )
    return (
        f'<h2>What the answers teach others</h2>\n<p class="soft">{escape(note)}</p>\n'
        f'<div class="wide">{_table(header, rows)}</div>'
    )


def _questions(simulation: Simulation) -> str:
    golds = {gold.key: gold for gold in simulation.data.pool}
    answered = simulation.of(simulation.names[0])[0].answered[::-1][:LAST_QUESTIONS]
    rows = [
        _question(task, simulation.subject.show(task, golds[task["_input_hash"]].true))
        for task in answered
    ]
    return _table(["asked about", "score", "question", "answer", "truth"], rows, text=(0, 2, 3, 4))


def _question(task: Task, shown: Shown) -> list[Any]:
    is_ignored = task["answer"] == "ignore"
    kind = "soft" if is_ignored else "good" if shown.is_right else "bad"
    text = str(task.get("text") or task.get("image"))
    return [
        text if len(text) <= 160 else f"{text[:160]}…",
        f"{task['meta']['score']:.2f}",
        shown.question,
        (kind, "ignore" if is_ignored else shown.answer),
        shown.truth,
    ]


def _describe(simulation: Simulation) -> list[str]:
    protocol, settings = simulation.protocol, simulation.protocol.settings
    noise = protocol.noise
    return [
        "The annotator is simulated: it answers the question that is asked "
        f"({simulation.subject.kinds[protocol.kind]}), in the form in which it is asked, through "
        "the code that a real session runs.",
        f"{noise.flipped:.0%} of the answers are wrong on purpose, {noise.ignored:.0%} of the "
        "questions are passed over; they count as answers.",
        "Contestants with the same seed begin with the same inputs and meet the same mistakes. "
        f"Questions come {settings.batch} at a time; of each batch a share of "
        f"{settings.epsilon:.0%} is drawn by chance.",
        "Nothing is learned from the test, not even from its texts: what a model learns without "
        f"labels comes from the pool. Labels in the pool: {_count(simulation)}.",
        f"An answer is taken to cost {protocol.seconds:g} seconds: that is stated, not measured.",
        f"Intervals are bootstrapped from {protocol.seeds} seeds, differences from pairs with the "
        "same seed. They say what other orders and weights would do, not what other data would.",
        *([f"Always giving the same answer reaches {simulation.chance:.3f}."]
          if simulation.chance else []),
        *(["Labels do not exclude each other: the score is the mean of their average precisions."]
          if simulation.metric == "average precision" else []),
    ]  # fmt: skip


def _count(simulation: Simulation) -> str:
    counts = {label: simulation.data.count(label) for label in simulation.data.labels}
    shown = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{label} {number:,}" for label, number in shown[:12])
    return text if len(shown) <= 12 else f"{text}, and {len(shown) - 12} more"


def _table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, text: tuple[int, ...] = (0,)
) -> str:
    head = "".join(_cell(cell, place in text, tag="th") for place, cell in enumerate(header))
    body = "".join(
        "<tr>" + "".join(_cell(cell, place in text) for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: Any, is_text: bool, *, tag: str = "td") -> str:
    kind, content = cell if isinstance(cell, tuple) else ("", cell)
    classes = " ".join(name for name in ("text" if is_text else "", kind) if name)
    attribute = f' class="{classes}"' if classes else ""
    return f"<{tag}{attribute}>{escape(str(content))}</{tag}>"
