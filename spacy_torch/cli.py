"""The commands added to ``python -m spacy``; spaCy imports this file before each of its own."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import spacy
from spacy.cli._util import Arg, Opt, app
from spacy.util import load_config, registry
from wasabi import msg

from spacy_torch.accelerate import Part, Report, accelerate
from spacy_torch.comparison import read_sample
from spacy_torch.features.boxes import get_boxes, set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import SUFFIXES
from spacy_torch.show import show_doc
from spacy_torch.training.annotated_image import make_gold_doc, make_plain_doc
from spacy_torch.training.held_out import hold_out
from spacy_torch.training.image_formats import (
    READERS,
    check_pictures,
    guess_format,
    read_images,
    save_pictures,
    split_images,
    write_images,
)
from spacy_torch.training.labelled_text import (
    label_names,
    read_labelled_text,
    write_labelled_text,
)


@app.command("torch-convert")
def torch_convert(
    input_path: Path = Arg(..., help="CSV, TSV or JSONL file", exists=True, dir_okay=False),
    output_path: Path = Arg(..., help="The .spacy file to write"),
    text: str = Opt("text", "--text", "-t", help="Column that holds the text"),
    label: str = Opt("label", "--label", "-l", help="Column that holds the label"),
    many: bool = Opt(False, "--many", "-m", help="A row has any number of labels, not one"),
    separator: str = Opt(",", "--separator", "-s", help="Between the labels of a row, with --many"),
    columns: str = Opt("", "--columns", "-c", help="Comma-separated names, if there is no header"),
    dev_split: float = Opt(0.0, "--dev-split", "-d", help="Share of every label to hold out"),
    dev_path: Path | None = Opt(
        None, "--dev-output", help="Where to hold it out (default: dev.spacy beside the output)"
    ),
    seed: int = Opt(0, "--seed", help="For the rows that are held out"),
    lang: str = Opt("en", "--lang", help="Language whose tokenizer is used"),
) -> None:
    """Convert texts with labels to spaCy's binary training data.

    With --dev-split, a part of the rows, drawn label by label, goes to a second file.
    """
    held_path = dev_path or output_path.with_name("dev.spacy")
    try:
        if dev_split and held_path.resolve() == output_path.resolve():
            raise ValueError(
                f"the part that --dev-split holds out would overwrite the rest, as both go to "
                f"{output_path}: name another file with --dev-output"
            )
        rows = read_labelled_text(
            input_path,
            text=text,
            label=label,
            labels="many" if many else "one",
            separator=separator,
            columns=columns.split(",") if columns else None,
        )
        train, dev = hold_out(rows, fraction=dev_split, seed=seed)
    except ValueError as error:
        msg.fail("Cannot convert", str(error), exits=1)
    names = label_names(rows)
    nlp = spacy.blank(lang)
    parts = [(train, output_path)]
    if dev:
        parts.append((dev, held_path))
    for part, path in parts:
        write_labelled_text(part, path, nlp=nlp, names=names)
        msg.good(f"{len(part)} texts with {len(names)} labels: {path}")


_FORMATS = ", ".join(READERS)


@app.command("torch-images")
def torch_images(
    input_path: Path = Arg(..., help="File or folder of annotated images", exists=True),
    output_path: Path = Arg(..., help="File or folder to write"),
    source: str = Opt("", "--from", "-f", help=f"Format: {_FORMATS} (default: as it looks)"),
    target: str = Opt("", "--to", "-t", help="Format to write (default: spacy for .spacy)"),
    images: Path | None = Opt(
        None, "--images", "-i", help="Folder of the pictures (default: as the format has it)"
    ),
    split: str = Opt("", "--split", "-s", help="Which list of names to read (voc)"),
    labels: str = Opt("", "--labels", "-l", help="Comma-separated; all others are a mistake"),
    strict: bool = Opt(False, "--strict", help="Refuse boxes that stand out of their pictures"),
    allow_outside: bool = Opt(False, "--allow-outside", help="Paths may lead out of the folder"),
    relative_to: Path | None = Opt(
        None, "--relative-to", help="Folder from which paths are written (default: of the pictures)"
    ),
    save: Path | None = Opt(None, "--save", help="Folder to save pictures in that have no file"),
    check: bool = Opt(False, "--check", help="Decode all pictures, leave out the damaged ones"),
    dev_split: float = Opt(0.0, "--dev-split", "-d", help="Share of the images to hold out"),
    dev_path: Path | None = Opt(
        None, "--dev-output", help="Where to hold them out (default: dev beside the output)"
    ),
    seed: int = Opt(0, "--seed", help="For the images that are held out"),
    lang: str = Opt("image", "--lang", help="Language whose tokenizer reads captions"),
) -> None:
    """Convert annotated images: boxes and classes, from one format to another.

    What the output has no place for is counted and said.
    """
    settings: dict[str, Any] = {"images": images}
    settings |= {"split": split} if split else {}
    settings |= {"labels": labels.split(",")} if labels else {}
    settings |= {"outside": "error"} if strict else {}
    settings |= {"allow_outside": True} if allow_outside else {}
    try:
        reader = read_images(input_path, source or guess_format(input_path), **settings)
        if not target and output_path.suffix != ".spacy":
            raise ValueError(f"name the format to write with --to: {_FORMATS}")
        annotated = reader.images
        annotated, wrong = check_pictures(annotated) if check else (annotated, [])
        if save is not None:
            annotated = save_pictures(annotated, save)
        held_path = dev_path or output_path.with_stem("dev")
        if dev_split and held_path.resolve() == output_path.resolve():
            raise ValueError(f"both parts would go to {output_path}: name one with --dev-output")
        train, dev = split_images(annotated, fraction=dev_split, seed=seed)
        parts = {output_path: train, **({held_path: dev} if dev else {})}
        reports = [reader.noticed.describe(), *(f"left out: {reason}" for reason in wrong)]
        for path, part in parts.items():
            noticed = write_images(
                part, path, target or "spacy", nlp=spacy.blank(lang), folder=relative_to
            )
            reports.append(noticed.describe())
    except (OSError, ValueError) as error:
        msg.fail("Cannot convert", str(error), exits=1)
    for report in filter(None, reports):
        msg.warn(report)
    for path, part in parts.items():
        n_boxes = sum(len(image.boxes or ()) for image in part)
        names = {box.label for image in part for box in image.boxes or ()}
        names |= {name for image in part for name in image.cats}
        msg.good(f"{len(part)} images, {n_boxes} boxes, {len(names)} labels: {path}")


@app.command("torch-teach")
def torch_teach(
    pipeline: str = Arg(..., help="Config file, trained pipeline, or blank:en for a new one"),
    pool_path: Path = Arg(..., help="JSONL file of texts or images to ask about", exists=True),
    dataset: Path = Opt(..., "--dataset", "-d", help="JSONL file for the answers; it may exist"),
    label: str = Opt("", "--label", "-l", help="Comma-separated labels, or a file with them"),
    component: str = Opt("", "--component", "-c", help="Default: the first one to ask about"),
    kind: str = Opt("", "--kind", "-k", help="binary, choice or manual (default: as suits it)"),
    blank: str = Opt("textcat", "--blank", help="For blank: textcat, ner, spans, image, boxes"),
    strategy: str = Opt("Margin", "--strategy", "-s", help="Which questions to ask first"),
    epsilon: float = Opt(0.1, "--epsilon", "-e", help="Share of questions that chance chooses"),
    view: Path | None = Opt(None, "--view", help="PNG that shows the picture asked about"),
) -> None:
    """Label in the terminal: the model asks what it wants to know most, and learns at once.

    No answer is lost, whatever happens. To go on another day, give the same command again.
    """
    from spacy_torch.annotation.active import Settings
    from spacy_torch.annotation.pipelines import split_labels
    from spacy_torch.annotation.terminal import teach

    try:
        teach(
            pipeline,
            pool_path,
            dataset,
            lines=sys.stdin,
            write=partial(print, flush=True),
            component=component or None,
            kind=cast(Any, kind or None),
            labels=split_labels(label),
            blank=blank,
            strategy=strategy,
            settings=Settings(batch=5, epsilon=epsilon),
            draw=partial(_draw_task, path=view) if view is not None else None,
        )
    except (ImportError, OSError, TypeError, ValueError) as error:
        msg.fail("Cannot begin", str(error), exits=1)
    except KeyboardInterrupt:
        msg.info(f"Broken off; all answers are in {dataset}")


@app.command("torch-label-studio")
def torch_label_studio(
    pipeline: str = Arg(..., help="Config file, trained pipeline, or blank:en for a new one"),
    url: str = Arg(..., help="Of the server, such as http://localhost:8080"),
    project: int = Arg(..., help="The number of the project, as in its address"),
    dataset: Path = Opt(..., "--dataset", "-d", help="JSONL file for the answers; it may exist"),
    component: str = Opt("", "--component", "-c", help="Default: the first one to ask about"),
    control: str = Opt("", "--control", help="Of the labelling config, if it has several"),
    strategy: str = Opt("Margin", "--strategy", "-s", help="Which questions to ask first"),
    epsilon: float = Opt(0.1, "--epsilon", "-e", help="Share of questions that chance chooses"),
    ahead: int = Opt(20, "--ahead", help="How many questions wait in the project"),
    backend: int | None = Opt(None, "--backend", help="Port at which the server may ask, too"),
) -> None:
    """Label in Label Studio: it shows what the model wants to know most, which learns at once.

    The token is read from the environment variable LABEL_STUDIO_TOKEN. No answer is lost,
    whatever happens. To go on another day, give the same command again.
    """
    from spacy_torch.annotation.active import Progress, Settings
    from spacy_torch.annotation.label_studio_session import run_label_studio

    def tell(progress: Progress) -> None:
        right = "" if progress.accuracy is None else f", {progress.accuracy:.0%} right before"
        msg.text(f"{progress.n_answers} answers{right}; {progress.n_left} tasks left")

    try:
        run_label_studio(
            pipeline,
            url,
            project,
            dataset=dataset,
            component=component or None,
            from_name=control or None,
            strategy=strategy,
            settings=Settings(epsilon=epsilon),
            ahead=ahead,
            backend=backend,
            tell=tell,
        )
    except (ImportError, LookupError, OSError, TypeError, ValueError) as error:
        msg.fail("Cannot go on", str(error), exits=1)
    except KeyboardInterrupt:
        msg.info(f"Broken off; all answers are in {dataset}")
    else:
        msg.good(f"Nothing left to ask; all answers are in {dataset}")


def _draw_task(task: dict[str, Any], *, path: Path) -> None:
    """Show the picture of a task, with its boxes, in a file that a viewer reads again."""
    if "image" not in task:
        return
    doc = make_image_doc(spacy.blank("image").vocab, Picture.from_source(task["image"]))
    sides = ("label", "x", "y", "width", "height")
    set_boxes(doc, [[span[side] for side in sides] for span in task.get("spans", [])])
    show_doc(doc).save(path, format="PNG")


@app.command("torch-show")
def torch_show(
    source: str = Arg(..., help="An image, or a file or folder of annotated images"),
    model: str = Opt("", "--model", "-m", help="Pipeline that annotates it (default: as it is)"),
    output_path: Path | None = Opt(
        None, "--output", "-o", help="PNG to write (default: its name with .shown.png)"
    ),
    number: int = Opt(1, "--number", "-n", help="Which of the annotated images, from 1"),
    format: str = Opt("", "--from", "-f", help=f"Of annotated images: {_FORMATS}"),
    images: Path | None = Opt(None, "--images", "-i", help="Folder of their pictures"),
    threshold: float = Opt(0.0, "--threshold", "-t", help="Leave out boxes with a lower score"),
    font: Path | None = Opt(None, "--font", help="TrueType file, for labels in other scripts"),
) -> None:
    """Draw boxes and classes on a picture: those that are annotated, or that a pipeline finds."""
    path = Path(source)
    is_picture = not format and path.suffix.lower() in SUFFIXES
    target = output_path or Path(f"{path.stem}.shown.png")
    try:
        if target.resolve() == path.resolve():
            raise ValueError(f"{target} would overwrite what is shown: name another file")
        if is_picture and not model:
            raise ValueError("name the pipeline that annotates the picture with --model")
        nlp = spacy.load(model) if model else spacy.blank("image")
        if is_picture:
            doc = make_image_doc(nlp.vocab, Picture.from_source(source))
        else:
            reader = read_images(path, format or guess_format(path), images=images)
            found = reader.images
            if not 1 <= number <= len(found):
                raise ValueError(f"--number must be from 1 to {len(found)}, got {number}")
            doc = (make_plain_doc if model else make_gold_doc)(nlp, found[number - 1])
        image = show_doc(nlp(doc), threshold=threshold, font=font)
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, format="PNG")
    except (ImportError, OSError, ValueError) as error:
        msg.fail("Cannot show it", str(error), exits=1)
    drawn = sum(box.score >= threshold for box in get_boxes(doc))
    best = max(doc.cats.items(), key=lambda item: item[1], default=None)
    said = f"; likeliest class: {best[0]} {best[1]:.2f}" if best else ""
    msg.good(f"{drawn} boxes{said}: {target}")


@app.command("torch-simulate")
def torch_simulate(
    config_path: Path = Arg(..., help="Config of a pipeline with a classifier", exists=True),
    data_path: Path = Arg(..., help=".spacy or JSONL with labels", exists=True, dir_okay=False),
    html: Path = Opt(Path("report.html"), "--html", help="The report to write"),
    csv: Path | None = Opt(None, "--csv", help="Every checkpoint of every session"),
    test: Path | None = Opt(None, "--test", "-t", help="To be tested on (default: held out)"),
    test_share: float = Opt(0.3, "--test-share", help="How much is held out without --test"),
    component: str = Opt("", "--component", "-c", help="Name (default: the first classifier)"),
    strategy: str = Opt("spacy-torch.Margin.v1", "--strategy", help="Which questions to ask"),
    kind: str = Opt("", "--kind", "-k", help="choice or binary (default: as the labels are)"),
    baselines: str = Opt(
        "random,slow,tfidf,bow,ensemble", "--baselines", "-b", help="Comma-separated"
    ),
    answers: int = Opt(200, "--answers", "-n", help="Questions of a session"),
    seeds: int = Opt(5, "--seeds", "-s", help="Sessions of each contestant"),
    batch: int = Opt(10, "--batch", help="Questions at a time"),
    epochs: int = Opt(4, "--epochs", help="Passes over all answers, by gradient, for each batch"),
    window: int = Opt(256, "--window", help="How many inputs are looked at for a batch"),
    epsilon: float = Opt(0.1, "--epsilon", help="Share of questions that chance chooses"),
    flipped: float = Opt(0.0, "--flipped", help="Share of wrong answers"),
    ignored: float = Opt(0.0, "--ignored", help="Share of questions passed over"),
    seconds: float = Opt(2.0, "--seconds", help="What an answer costs, for the report"),
    ceiling: bool = Opt(False, "--ceiling", help="Also train on the whole pool, for the targets"),
) -> None:
    """Show the learning curve that one would have had: sessions with a simulated annotator.

    The texts of DATA play the pool, their labels what the annotator knows. The report is one
    HTML page; it says so if asking in random order, or another model, is better.
    """
    # Imported here, as every command of spaCy imports this file.
    from spacy_torch.annotation.active import Settings
    from spacy_torch.annotation.contestants import list_contestants
    from spacy_torch.annotation.gold import read_gold, split_gold
    from spacy_torch.annotation.oracle import Noise
    from spacy_torch.annotation.report import write_report
    from spacy_torch.annotation.simulation import Protocol, find_kind, simulate
    from spacy_torch.annotation.summary import say, write_csv
    from spacy_torch.annotation.tfidf import has_scikit_learn

    wanted = [name for name in baselines.split(",") if name]
    if "tfidf" in wanted and not has_scikit_learn():
        msg.warn("Without scikit-learn TF-IDF is left out", "pip install 'spacy-torch[simulate]'")
        wanted.remove("tfidf")
    try:
        data = split_gold(read_gold(data_path), read_gold(test) if test else None, share=test_share)
        settings = Settings(batch=batch, window=window, epsilon=epsilon, epochs=epochs)
        protocol = Protocol(
            answers=answers,
            seeds=seeds,
            kind=find_kind(data, kind),
            noise=Noise(flipped=flipped, ignored=ignored),
            seconds=seconds,
            settings=settings,
        )
        contestants = list_contestants(
            load_config(config_path, interpolate=False),
            strategy=registry.get("torch_query_strategies", strategy)(),
            strategy_name=strategy.removeprefix("spacy-torch.").removesuffix(".v1"),
            baselines=wanted,
            component=component or None,
            settings=settings,
        )
        msg.info(f"{len(data.pool)} inputs to ask about, {len(data.test)} to be tested on")
        found = simulate(
            data,
            contestants,
            protocol,
            ceiling=ceiling,
            on_run=lambda run: msg.text(f"seed {run.seed}, {run.name}: area {run.area:.3f}"),
        )
        write_report(found, html)
        if csv:
            write_csv(found, csv)
    except (OSError, ValueError) as error:
        msg.fail("Cannot simulate it", str(error), exits=1)
    for sentence in say(found):
        msg.text(sentence)
    msg.good(f"Report: {html}")


@app.command("torch-accelerate")
def torch_accelerate(
    pipeline: str = Arg(..., help="Installed pipeline, or the path of one"),
    output_path: Path = Arg(..., help="Folder to write the faster one to"),
    sample_path: Path | None = Opt(
        None,
        "--sample",
        "-s",
        help="Texts to compare both on: one per line, .jsonl or .spacy (default: a few sentences)",
        exists=True,
        dir_okay=False,
    ),
    force: bool = Opt(False, "--force", "-F", help="Write it even if it annotates differently"),
) -> None:
    """Replace spaCy's token encoders in a trained pipeline by the same functions in torch.

    The weights are converted. It writes nothing if anything is then annotated differently.
    """
    if output_path.exists() and (output_path.is_file() or any(output_path.iterdir())):
        msg.fail(f"There is something at {output_path}", "Name another folder", exits=1)
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
