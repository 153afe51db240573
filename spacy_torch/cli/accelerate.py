"""A trained pipeline made faster."""

from pathlib import Path

import spacy
from spacy.cli._util import Arg, app
from wasabi import msg

from spacy_torch.accelerate import Part, Report, accelerate
from spacy_torch.cli.comparing import FORCE, SAMPLE, check_free
from spacy_torch.comparison import read_sample


@app.command("torch-accelerate")
def torch_accelerate(
    pipeline: str = Arg(..., help="Installed pipeline, or the path of one"),
    output_path: Path = Arg(..., help="Folder to write the faster one to"),
    sample_path: Path | None = SAMPLE,
    force: bool = FORCE,
) -> None:
    """Replace spaCy's token encoders in a trained pipeline by the same functions in torch.

    The weights are converted. It writes nothing if anything is then annotated differently.
    """
    check_free(output_path)
    try:
        nlp = spacy.load(pipeline)
        report = accelerate(nlp, read_sample(sample_path, nlp) if sample_path else None)
    except (OSError, ValueError) as error:
        msg.fail(f"Cannot read the pipeline {pipeline} or the sample", str(error), exits=1)
    _print_parts(report)
    if not report.converted:
        msg.fail("Nothing was written", "This pipeline has no part that could be replaced", exits=1)
    n_texts = len(report.texts)
    if report.differences:
        shown = "\n".join(map(str, report.differences[:5]))
        n_other = len({difference.text for difference in report.differences})
        title = f"{n_other} of {n_texts} texts are annotated differently"
        if not force:
            msg.fail(f"{title}: nothing was written (--force writes it)", shown, exits=1)
        msg.warn(title, shown)
    else:
        msg.good(f"{n_texts} texts are annotated as before")
    report.nlp.to_disk(output_path)
    msg.good(f"Written to {output_path}: it needs spacy-torch to be installed, and no import")


def _print_parts(report: Report) -> None:
    rows = [_describe(report, part) for part in report.parts]
    if report.converted:
        rows.append(("the whole pipeline", "", "", "", *_format_speeds(report.speed())))
    header = ("component", "architecture", "converted", "difference", "words/s", "now")
    msg.table(rows, header=header, divider=True)


def _describe(report: Report, part: Part) -> tuple[str, ...]:
    name = f"{part.component}.{part.path}"
    if part.kept is not None:
        return name, part.architecture, f"no: {part.kept}", "", "", ""
    difference = f"{part.difference:.0e}"
    return name, part.architecture, "yes", difference, *_format_speeds(report.speed(part))


def _format_speeds(speeds: tuple[float, float]) -> tuple[str, str]:
    before, after = speeds
    return f"{before:,.0f}", f"{after:,.0f}"
