"""What a simulation came to, one contestant at a time, and who was better than whom."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacy_torch.annotation.measures import Difference, Floats, bootstrap_interval, compare
from spacy_torch.annotation.simulation import Checkpoint, Run, Simulation

TARGETS = (0.8, 0.9, 0.95)
FIELDS = (
    "name", "seed", "answers", "score", "calibration_error", "found", "asking_seconds",
    "learning_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """The sessions of one contestant.

    Attributes:
        answers: the checkpoints that all sessions reached.
        curve, low, high: the mean score at each, with its 95 % interval.
        area: the mean of the areas under the curves, with its interval.
        to_target: answers until the mean curve first reaches a share of the best score;
            None where it does not.
        calibration_error, n_found: at the end, on average.
        asking, learning: milliseconds for a batch, as (median, 95th percentile); None for
            what follows another contestant.
    """

    name: str
    answers: Sequence[int]
    curve: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    area: float
    area_interval: tuple[float, float]
    to_target: dict[float, int | None]
    calibration_error: float
    n_found: float
    asking: tuple[float, float] | None
    learning: tuple[float, float] | None


@dataclass(frozen=True)
class Lesson:
    """What a model was worth that learned from the answers of others.

    Attributes:
        name: of the model.
        scores: the mean score on the test, with its 95 % interval, by whose answers.
        gain: by the answers of the first instead of those of each other.
    """

    name: str
    scores: dict[str, tuple[float, tuple[float, float]]]
    gain: dict[str, Difference]


def summarize(simulation: Simulation) -> list[Summary]:
    """One summary for each contestant, in order."""
    best = find_best(simulation)
    return [_summarize(name, simulation.of(name), best) for name in simulation.names]


def find_best(simulation: Simulation) -> float:
    """The score that targets are shares of: the ceiling, or the best mean score seen."""
    if simulation.ceiling is not None:
        return simulation.ceiling
    curves = [_columns(simulation.of(name), lambda point: point.score) for name in simulation.names]
    return float(max(curve.mean(axis=0).max() for curve in curves))


def compare_first(simulation: Simulation) -> dict[str, Difference]:
    """How much better the area of the first contestant is than that of each other one."""
    first, *others = simulation.names
    ours = [run.area for run in simulation.of(first)]
    return {name: compare(ours, [run.area for run in simulation.of(name)]) for name in others}


def compare_lessons(simulation: Simulation) -> list[Lesson]:
    """How good each other model became, by the answers of each contestant that had pupils."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in sorted(simulation.transfers, key=lambda transfer: transfer.seed):
        found.setdefault(one.name, {}).setdefault(one.taught_by, []).append(one.score)
    lessons: list[Lesson] = []
    for name, by_teacher in found.items():
        scores = {
            teacher: (float(np.mean(values)), bootstrap_interval(values))
            for teacher, values in by_teacher.items()
        }
        first, *others = by_teacher
        gain = {other: compare(by_teacher[first], by_teacher[other]) for other in others}
        lessons.append(Lesson(name, scores, gain))
    return lessons


def say(simulation: Simulation) -> list[str]:
    """What came out, in sentences; also that the first contestant lost, if it did."""
    first = simulation.names[0]
    said: list[str] = []
    for name, found in compare_first(simulation).items():
        interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
        counts = f"{found.wins} wins, {found.ties} ties, {found.losses} losses"
        verdict = {
            "better": f"{first} is better than {name}",
            "worse": f"{first} loses against {name}",
            "no difference shown": f"No difference between {first} and {name} can be shown",
        }[found.verdict]
        verdict = verdict[0].upper() + verdict[1:]
        said.append(f"{verdict}: {found.mean:+.3f} in area ({interval}; {counts}).")
    said += [sentence for lesson in compare_lessons(simulation) for sentence in _say(lesson)]
    if simulation.protocol.seeds < 5:
        said.append(
            f"These are {simulation.protocol.seeds} seeds: intervals of so few are too narrow."
        )
    return said


def write_csv(simulation: Simulation, path: str | Path) -> None:
    """A row for each checkpoint of each session, and for each model that others taught."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for run in simulation.runs:
            for point in run.checkpoints:
                writer.writerow(
                    [
                        run.name, run.seed, point.n_answers, f"{point.score:.5f}",
                        f"{point.calibration_error:.5f}", point.n_found, f"{point.asking:.4f}",
                        f"{point.learning:.4f}",
                    ]
                )  # fmt: skip
        for one in simulation.transfers:
            writer.writerow(
                [
                    f"{one.name}, taught by {one.taught_by}", one.seed, one.n_answers,
                    f"{one.score:.5f}", f"{one.calibration_error:.5f}", "", "",
                    f"{one.seconds:.4f}",
                ]
            )  # fmt: skip


def _say(lesson: Lesson) -> list[str]:
    first, name = next(iter(lesson.scores)), lesson.name
    said: list[str] = []
    for other, found in lesson.gain.items():
        verdict = {
            "better": f"The answers of {first} teach {name} more than those of {other}",
            "worse": f"The answers of {first} teach {name} less than those of {other}",
            "no difference shown": f"Whether the answers of {first} teach {name} more than those "
            f"of {other} cannot be shown",
        }[found.verdict]
        interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
        said.append(f"{verdict}: {found.mean:+.3f} at the end ({interval}).")
    return said


def _summarize(name: str, runs: Sequence[Run], best: float) -> Summary:
    scores = _columns(runs, lambda point: point.score)
    mean = scores.mean(axis=0)
    intervals = [bootstrap_interval(column) for column in scores.T]
    areas = [run.area for run in runs]
    answers = [point.n_answers for point in runs[0].checkpoints][: len(mean)]
    last = [run.checkpoints[-1] for run in runs]
    return Summary(
        name=name,
        answers=answers,
        curve=mean.tolist(),
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
        area=float(np.mean(areas)),
        area_interval=bootstrap_interval(areas),
        to_target={share: _first_at(answers, mean, share * best) for share in TARGETS},
        calibration_error=float(np.mean([point.calibration_error for point in last])),
        n_found=float(np.mean([point.n_found for point in last])),
        asking=_times(runs, lambda point: point.asking),
        learning=_times(runs, lambda point: point.learning),
    )


def _columns(runs: Sequence[Run], read: Callable[[Checkpoint], float]) -> Floats:
    """Shape (run, checkpoint), as far as all runs went."""
    length = min(len(run.checkpoints) for run in runs)
    return np.array([[read(point) for point in run.checkpoints[:length]] for run in runs])


def _first_at(answers: Sequence[int], curve: Floats, target: float) -> int | None:
    reached = np.flatnonzero(curve >= target - 1e-9)
    return answers[int(reached[0])] if len(reached) else None


def _times(runs: Sequence[Run], read: Callable[[Checkpoint], float]) -> tuple[float, float] | None:
    seconds = [read(point) for run in runs for point in run.checkpoints]
    if not any(seconds):
        return None
    middle, late = np.quantile(seconds, [0.5, 0.95])
    return 1000 * float(middle), 1000 * float(late)
