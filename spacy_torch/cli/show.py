"""Boxes and classes, drawn on a picture."""

from pathlib import Path

import spacy
from spacy.cli._util import Arg, Opt, app
from wasabi import msg

from spacy_torch.features.boxes import get_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import SUFFIXES
from spacy_torch.show import show_doc
from spacy_torch.training.annotated_image import make_gold_doc, make_plain_doc
from spacy_torch.training.image_formats import READERS, guess_format, read_images


@app.command("torch-show")
def torch_show(
    source: str = Arg(..., help="An image, or a file or folder of annotated images"),
    model: str = Opt("", "--model", "-m", help="Pipeline that annotates it (default: as it is)"),
    output_path: Path | None = Opt(
        None, "--output", "-o", help="PNG to write (default: its name with .shown.png)"
    ),
    number: int = Opt(1, "--number", "-n", help="Which of the annotated images, from 1"),
    format: str = Opt("", "--from", "-f", help=f"Of annotated images: {', '.join(READERS)}"),
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
