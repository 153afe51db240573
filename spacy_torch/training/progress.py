"""`spacy-torch.Progress.v1`: what a training shows, and where else that goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from spacy.language import Language
from spacy.util import registry

from spacy_torch.training.csv_log import CsvLog
from spacy_torch.training.evaluated import PREFIX, Evaluated, read_info
from spacy_torch.training.meter import Meter
from spacy_torch.training.progress_bar import ProgressBar, ProgressLines
from spacy_torch.training.run_length import RunLength
from spacy_torch.training.score_table import ScoreTable
from spacy_torch.training.tensorboard_log import TensorboardLog

Info = dict[str, Any]
LogStep = Callable[["Info | None"], None]
Finalize = Callable[[], None]
Logger = Callable[[Language, "IO[str]", "IO[str]"], tuple[LogStep, Finalize]]


def build_progress(
    *,
    console: bool = True,
    gradient_norms: bool = False,
    csv: str | Path | None = None,
    tensorboard: str | Path | None = None,
    loggers: Mapping[str, Any] | Sequence[Any] = (),
) -> Logger:
    """Shows how far a training is and what it does, for ``[training.logger]``.

    The table has a row for each evaluation: for each component the mean loss of an example, the
    scores (in percent), learning rate, mean gradient norm before clipping (of torch modules),
    words/s of the steps alone, memory, and the time that is left. All of it is put into spaCy's
    ``info``, as ``progress.learn_rate`` and so on, for the chained loggers.

    Args:
        console: print the table, and a bar where there is a terminal.
        gradient_norms: give the gradient norm of each component, too.
        csv: file for a row for each evaluation; see `CsvLog` for one that exists.
        tensorboard: directory for TensorBoard (``pip install "spacy-torch[tensorboard]"``).
        loggers: any other loggers, as a list of blocks or as a block of them.

    Raises:
        ValueError: one of `loggers` is no logger.
    """
    found = loggers.values() if isinstance(loggers, Mapping) else loggers
    return Progress(
        console=console,
        gradient_norms=gradient_norms,
        csv=None if csv is None else Path(csv),
        tensorboard=None if tensorboard is None else Path(tensorboard),
        loggers=[_find_logger(each) for each in found],
    )


@dataclass(frozen=True)
class Progress:
    """The logger; see `build_progress`."""

    console: bool
    gradient_norms: bool
    csv: Path | None
    tensorboard: Path | None
    loggers: Sequence[Logger]

    def __call__(
        self, nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[LogStep, Finalize]:
        """Begin, as spaCy's training loop asks for it."""
        # What may fail comes first: the meter changes the pipeline until it is closed.
        csv = None if self.csv is None else CsvLog(self.csv)
        tensorboard = None if self.tensorboard is None else TensorboardLog(self.tensorboard)
        chained = [logger(nlp, stdout, stderr) for logger in self.loggers]
        training = nlp.config["training"]
        run = Run(
            meter=Meter(nlp),
            length=RunLength(max_steps=training["max_steps"], max_epochs=training["max_epochs"]),
            gradient_norms=self.gradient_norms,
            csv=csv,
            tensorboard=tensorboard,
            chained=chained,
        )
        if self.console:
            with_norms = run.meter.components
            table = _make_table(nlp, with_norms, one_by_one=self.gradient_norms)
            run.open_console(table, stdout, stderr)
        return run.log_step, run.finalize


class Run:
    """One training, from the first step that it is told of to the last."""

    def __init__(
        self,
        *,
        meter: Meter,
        length: RunLength,
        gradient_norms: bool,
        csv: CsvLog | None,
        tensorboard: TensorboardLog | None,
        chained: Sequence[tuple[LogStep, Finalize]],
    ) -> None:
        self.meter = meter
        self.length = length
        self.gradient_norms = gradient_norms
        self.csv = csv
        self.tensorboard = tensorboard
        self.chained = chained
        self.best: tuple[float, int] | None = None
        self._table: ScoreTable | None = None
        self._bar: ProgressBar | ProgressLines | None = None
        self._stdout: IO[str] = sys.stdout

    def open_console(self, table: ScoreTable, stdout: IO[str], stderr: IO[str]) -> None:
        """Print the table from now on, and a bar, or lines where there is no terminal."""
        self._table, self._stdout = table, stdout
        self._bar = (ProgressBar if stderr.isatty() else ProgressLines)(stderr, self.length)
        self._bar.hide()
        print(table.header(), file=stdout, flush=True)

    def log_step(self, info: Info | None) -> None:
        """A step has ended; `info` is spaCy's, if an evaluation came after it."""
        self.length.take_step()
        self.meter.take_step(evaluated=info is not None)
        if info is None:
            self._pass_on(None)
        else:
            self._take_evaluation(info)
        if self._bar is not None:
            if info is None and self._bar.is_due():
                self._bar.show(self.meter.read(step=self.length.step), best=self.best)
            self._bar.move()
        self.meter.go_on()

    def finalize(self) -> None:
        """The training has ended, well or not."""
        self.meter.close()
        if self._bar is not None:
            self._bar.close()
        if self.tensorboard is not None:
            self.tensorboard.close()
        for _, finalize in self.chained:
            finalize()

    def _take_evaluation(self, info: Info) -> None:
        self.length.take_position(step=info["step"], epoch=info["epoch"])
        self.meter.n_processes = info.get("n_processes", 1)
        reading = self.meter.read(step=info["step"], n_examples=info.get("n_examples"))
        found = read_info(info, reading)
        self.best = found.best
        measures = found.measures(by_component=self.gradient_norms)
        known = {name: value for name, value in measures.items() if value is not None}
        info.update({f"{PREFIX}.{name}": value for name, value in known.items()})
        if self._bar is not None:
            self._bar.hide()
        if self._table is not None:
            left = self.length.seconds_left
            print(self._table.row(found, seconds_left=left), file=self._stdout, flush=True)
        self._pass_on(info)
        if self.csv is not None:
            self.csv.write(_csv_row(found, measures))
        if self.tensorboard is not None:
            scores = {f"score/{name}": value for name, value in found.scores.items()}
            curves = {name.replace(".", "/", 1): value for name, value in known.items()}
            self.tensorboard.write({"score": found.score, **scores, **curves}, step=found.step)
        self.meter.start()

    def _pass_on(self, info: Info | None) -> None:
        for log_step, _ in self.chained:
            log_step(info)


def _make_table(nlp: Language, with_norms: Sequence[str], *, one_by_one: bool) -> ScoreTable:
    trainable = [name for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)]
    weights = nlp.config["training"]["score_weights"]
    return ScoreTable(
        components=trainable,
        scores=[name for name, weight in weights.items() if weight is not None],
        norms=with_norms if one_by_one else (),
        has_norm=bool(with_norms),
        has_gpu=torch.cuda.is_initialized(),
    )


def _csv_row(found: Evaluated, measures: Mapping[str, float | None]) -> dict[str, object]:
    return {
        "epoch": found.epoch,
        "step": found.step,
        "seconds": found.seconds,
        "score": found.score,
        "is_best": int(found.is_best),
        **measures,
        **{f"score.{name}": value for name, value in found.scores.items()},
    }


def _find_logger(given: Any) -> Logger:
    """A logger that is made already, or the one of a block, which a list leaves unmade."""
    if isinstance(given, Mapping) and "@loggers" in given:
        return registry.resolve({"logger": dict(given)})["logger"]
    if not callable(given):
        raise ValueError(
            "each of loggers must be a block with @loggers, such as "
            f'{{"@loggers": "spacy.ConsoleLogger.v3"}}, got {given!r}'
        )
    return cast("Logger", given)
