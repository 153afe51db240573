"""A trained pipeline in another form, for prediction."""

from pathlib import Path

import spacy
from spacy.cli._util import Arg, Opt, app
from wasabi import msg

from spacy_torch.cli.comparing import FORCE, SAMPLE, check_free
from spacy_torch.comparison import read_sample

FORMATS = ("int8", "onnx", "torch.export")


@app.command("torch-export")
def torch_export(
    pipeline: str = Arg(..., help="Installed pipeline, or the path of one"),
    output_path: Path = Arg(..., help="Folder to write the exported one to"),
    format: str = Opt("int8", "--format", "-f", help=f"One of {', '.join(FORMATS)}"),
    component: list[str] = Opt(
        [], "--component", "-c", help="Name; may be repeated (default: all)"
    ),
    sample_path: Path | None = SAMPLE,
    force: bool = FORCE,
) -> None:
    """Export the torch modules of a trained pipeline, for prediction only.

    It is compared with the original on the sample, and not written if it annotates too much
    differently.
    """
    from spacy_torch.export.pipeline import export_pipeline

    check_free(output_path)
    try:
        nlp = spacy.load(pipeline)
        report = export_pipeline(
            nlp,
            format,  # type: ignore[arg-type]  (checked there)
            components=component or None,
            texts=read_sample(sample_path, nlp) if sample_path else None,
        )
    except (ImportError, OSError, ValueError) as error:
        msg.fail(f"Cannot export the pipeline {pipeline}", str(error), exits=1)
    rows = [
        (part.component, part.module, f"no: {part.kept}", "", "", "")
        if part.kept
        else (
            part.component,
            part.module,
            part.what,
            f"{part.difference:.1e}",
            f"{part.largest:.1e}",
            " -> ".join(f"{n_bytes / 1e6:.1f}" for n_bytes in part.n_bytes),
        )
        for part in report.parts
    ]
    header = ("component", "module", "exported", "largest difference", "largest output", "MB")
    msg.table(rows, header=header, divider=True)
    if not report.exported:
        msg.fail("Nothing was written", "This pipeline has no part to export", exits=1)
    before, after = report.speed()
    msg.text(f"{before:,.0f} words a second before, {after:,.0f} now")
    n_texts = len(report.texts)
    if report.differences:
        n_other = len({difference.text for difference in report.differences})
        shown = "\n".join(map(str, report.differences[:5]))
        said = f"{len(report.differences)} annotations in {n_other} of {n_texts} texts differ"
        msg.warn(said, shown)
    else:
        msg.good(f"{n_texts} texts are annotated as before")
    if report.objection and not force:
        msg.fail("Nothing was written (--force writes it)", report.objection, exits=1)
    if report.objection:
        msg.warn(report.objection)
    report.nlp.to_disk(output_path)
    msg.good(f"Written to {output_path}: it predicts, and cannot be trained")
