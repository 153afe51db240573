"""A file of texts annotated by several processes."""

from pathlib import Path

from spacy.cli._util import Arg, Opt, app
from wasabi import msg


@app.command("torch-annotate")
def torch_annotate(
    pipeline: str = Arg(..., help="Installed pipeline, or the path of one"),
    input_path: Path = Arg(
        ..., help=".jsonl, .spacy, or one text per line", exists=True, dir_okay=False
    ),
    output_path: Path = Arg(..., help="Folder for the .spacy files", file_okay=False),
    workers: int = Opt(2, "--workers", "-w", help="Processes, each with one thread", min=1),
    part_size: int = Opt(1000, "--part-size", "-p", help="Documents in one file", min=1),
    batch_size: int = Opt(256, "--batch-size", "-b", help="Documents annotated at a time", min=1),
    text: str = Opt("text", "--text", "-t", help="Key of the text in a .jsonl file"),
    code: Path | None = Opt(
        None, "--code", "-c", help="Python file that each worker runs first", exists=True
    ),
) -> None:
    """Annotate a corpus into numbered .spacy files, by several processes.

    The same command goes on with what was stopped. What cannot be annotated is in the files that
    end in .errors.jsonl.
    """
    from spacy_torch.inference.annotator import Annotator
    from spacy_torch.inference.processes import annotate_file, count_errors
    from spacy_torch.inference.texts import read_records

    # Lines of text have no other key.
    key = text if input_path.suffix == ".jsonl" else "text"
    annotator = Annotator(pipeline, text=key, batch_size=batch_size, code=code)
    try:
        for progress in annotate_file(
            input_path,
            output_path,
            annotator,
            read=read_records,
            workers=workers,
            part_size=part_size,
        ):
            replaced = f", {progress.n_deaths} workers replaced" * bool(progress.n_deaths)
            if not progress.n_all:
                msg.warn(f"{input_path} has no documents: there is nothing to annotate")
                return
            msg.text(f"{progress.n_parts} of {progress.n_all} parts{replaced}")
    except (OSError, ValueError, RuntimeError) as error:
        msg.fail(f"Cannot annotate {input_path}", str(error), exits=1)
    n_errors = count_errors(output_path)
    if n_errors:
        msg.warn(f"{n_errors} documents could not be annotated: {output_path}/*.errors.jsonl")
    msg.good(f"Written to {output_path}")
