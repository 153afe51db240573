"""Drawings of what is known of a picture, and `python -m spacy torch-show`."""

import json

import numpy
import pytest
import spacy
from images import CORNERS, random_pixels, write_image
from PIL import Image
from spacy.cli import app
from spacy.language import Language
from spacy.util import registry
from typer.testing import CliRunner

from spacy_torch.features.boxes import Box, register_boxes, set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture
from spacy_torch.show import LARGEST, PALETTE, SMALLEST, draw, show_doc


def plain(width, height, shade):
    return Image.new("RGB", (width, height), (shade,) * 3)


def has_color(image, color, place=None):
    pixels = numpy.asarray(image if place is None else image.crop(place))
    return bool((pixels == color).all(axis=2).any())


@pytest.mark.parametrize("shade", [0, 255, 128])
def test_box_stands_out_from_any_ground(shade):
    image = draw(plain(1000, 800, shade), boxes=[Box("a", 100, 100, 300, 200)], cats={})
    # Along a line that crosses the left side, halfway down: its colour, a dark and a light rim.
    crossed = image.crop((95, 200, 110, 201))
    for color in (PALETTE[0], (0, 0, 0), (255, 255, 255)):
        assert has_color(crossed, color)
    inside = numpy.asarray(image.crop((120, 120, 380, 280)))
    assert (inside == shade).all()


def test_label_and_score_are_written_above_the_box():
    image = draw(plain(1000, 800, 0), boxes=[Box("a", 100, 100, 300, 200, 0.5)], cats={})
    bare = draw(plain(1000, 800, 0), boxes=[Box("b", 100, 100, 300, 200, 0.5)], cats={})
    plate = (95, 60, 200, 98)
    assert has_color(image, PALETTE[0], plate)
    assert numpy.asarray(image.crop(plate)).tolist() != numpy.asarray(bare.crop(plate)).tolist()


@pytest.mark.parametrize(
    "box",
    [Box("long label", 0, 0, 5, 5), Box("long label", 995, 795, 5, 5), Box("a", 0, 0, 1000, 800)],
)
def test_boxes_at_the_edges_keep_their_labels_in_the_picture(box):
    image = draw(plain(1000, 800, 255), boxes=[box], cats={})
    assert image.width == 1000
    in_picture = numpy.asarray(image.crop((0, 0, 1000, 800)))
    assert (in_picture == PALETTE[0]).all(axis=2).sum() > 150


def test_labels_have_colours_of_their_own_and_a_legend():
    boxes = [Box(label, 100 * n, 100, 50, 50) for n, label in enumerate("cab")]
    image = draw(plain(1000, 800, 255), boxes=boxes, cats={})
    legend = (0, 801, image.width, image.height)
    for color in PALETTE[:3]:
        assert has_color(image, color, legend)
    many = [Box(f"label {n:02}", 10 * n, 10 * n, 9, 9, 0.5) for n in range(60)]
    assert draw(plain(1000, 800, 255), boxes=many, cats={}).height > image.height


def test_classes_are_shown_with_bars_of_their_probability():
    cats = {"a": 0.1, "b": 0.9, "c": 0.0, "d": 0.0, "e": 0.0, "f": 0.0}
    image = draw(plain(900, 800, 255), boxes=[], cats=cats)
    strip = numpy.asarray(image)[800:]
    lengths = (strip == PALETTE[4]).all(axis=2).sum(axis=1)
    # A third of the width is 300 pixels: 270 and 30 of them are filled, and of the rest one.
    assert set(lengths.tolist()) == {0, 271, 31, 1}


def test_small_images_are_enlarged_and_huge_ones_reduced():
    assert draw(plain(28, 20, 0), boxes=[], cats={}).size == (28 * 26, 20 * 26)
    assert max(draw(plain(SMALLEST, 7, 0), boxes=[], cats={}).size) == SMALLEST
    assert max(draw(plain(5000, 3000, 0), boxes=[], cats={}).size) == LARGEST
    small = draw(Image.fromarray(CORNERS), boxes=[Box("a", 3, 0, 3, 2)], cats={})
    # 6 x 4 pixels are drawn 120 times as large: the middle of the green quarter stays green.
    assert small.getpixel((540, 120)) == (0, 255, 0)


def test_line_of_pixels_and_box_of_a_pixel_are_drawn():
    image = draw(plain(2000, 1, 0), boxes=[Box("a", 0, 0, 0.1, 0.1, 0.5)], cats={"a": 2.0})
    assert has_color(image, PALETTE[0])


def test_unlikely_boxes_may_be_left_out():
    register_boxes()
    doc = make_image_doc(spacy.blank("image").vocab, Picture.from_source(CORNERS))
    set_boxes(doc, [Box("a", 0, 0, 3, 2, 0.9), Box("b", 3, 2, 3, 2, 0.2)])
    assert has_color(show_doc(doc), PALETTE[1])
    assert not has_color(show_doc(doc, threshold=0.5), PALETTE[1])


def test_original_is_not_changed():
    image = plain(1000, 800, 0)
    draw(image, boxes=[Box("a", 1, 1, 50, 50)], cats={"a": 1.0})
    assert numpy.asarray(image).max() == 0


@pytest.fixture
def show(tmp_path, monkeypatch):
    registry.cli.get("torch-show")  # as python -m spacy does
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-show", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture
def model(tmp_path):
    @Language.component("boxes_for_tests")
    def find(doc):
        set_boxes(doc, [Box("red", 0, 0, 3, 2, 0.75), Box("blue", 0, 2, 3, 2, 0.25)])
        doc.cats = {"square": 0.6, "round": 0.4}
        return doc

    nlp = spacy.blank("image")
    nlp.add_pipe("boxes_for_tests")
    nlp.to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


def test_command_draws_what_a_pipeline_finds(show, model, tmp_path):
    path = write_image(tmp_path / "data" / "a.png", random_pixels(90, 120))
    code, output = show(path, "--model", model)
    assert code == 0
    assert "2 boxes; likeliest class: square 0.60: a.shown.png" in output
    shown = Image.open(tmp_path / "a.shown.png")
    assert has_color(shown, PALETTE[1])
    target = tmp_path / "new" / "b.png"
    code, output = show(path, "--model", model, "--output", target, "--threshold", 0.5)
    assert (code, "1 boxes" in output) == (0, True)
    assert target.exists()


def test_command_draws_what_is_annotated(show, model, tmp_path):
    write_image(tmp_path / "a.png")
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 2]}]
    data = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "red"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(data))
    assert "1 boxes: coco.shown.png" in show("coco.json")[1]
    assert "0 boxes: x.png" in show("coco.json", "-n", 2, "-o", "x.png")[1]
    assert "2 boxes; likeliest" in show("coco.json", "-m", model)[1]
    code, output = show("coco.json", "-n", 3)
    assert (code, "--number must be from 1 to 2, got 3" in output) == (1, True)


def test_command_says_what_is_wrong(show, model, tmp_path):
    path = write_image(tmp_path / "a.png")
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    for arguments, message in [
        ((path,), "name the pipeline that annotates the picture with --model"),
        ((path, "-m", model, "-o", path), "would overwrite what is shown"),
        (("none.png", "-m", model), "none.png: there is no image that can be read"),
        (("https://a.b/c.png", "-m", model), "nothing is fetched from a URL"),
        (("broken.jpg", "-m", model), "broken.jpg: this is not an image of a known format"),
        ((path, "-m", tmp_path / "no"), "no"),
        ((path, "-m", model, "--font", "none.ttf"), "Cannot show it"),
        (("notes.txt",), "cannot tell the format of notes.txt"),
    ]:
        code, output = show(*arguments)
        assert code == 1
        assert message in output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "broken.jpg", "nlp"]
