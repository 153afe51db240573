"""`python -m spacy torch-images`."""

import json

import pytest
import spacy
from images import write_image
from spacy.cli import app
from spacy.training import Corpus
from spacy.util import registry
from typer.testing import CliRunner

from spacy_torch.features.boxes import get_boxes
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import to_uri


@pytest.fixture
def convert():
    registry.cli.get("torch-images")  # as python -m spacy does

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-images", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture
def coco(tmp_path):
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(10)]
    for image in images:
        write_image(tmp_path / "pictures" / image["file_name"])
    boxes = [{"image_id": n, "category_id": 1, "bbox": [0, 0, 3, 2 if n else 9]} for n in range(10)]
    data = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "red"}]}
    path = tmp_path / "pictures" / "coco.json"
    path.write_text(json.dumps(data))
    return path


def boxes(path):
    return [get_boxes(example.reference) for example in Corpus(path)(spacy.blank("image"))]


def test_convert_says_what_it_wrote_and_what_it_changed(convert, coco, tmp_path):
    code, output = convert(coco, tmp_path / "train.spacy")
    assert code == 0
    assert "10 images, 10 boxes, 1 labels" in output
    assert "1 boxes cut to their pictures (first: " in output
    assert [len(found) for found in boxes(tmp_path / "train.spacy")] == [1] * 10


def test_convert_holds_out_a_share(convert, coco, tmp_path):
    code, _ = convert(coco, tmp_path / "train.spacy", "--dev-split", 0.2)
    assert code == 0
    assert len(boxes(tmp_path / "train.spacy")) == 8
    assert len(boxes(tmp_path / "dev.spacy")) == 2
    for share in (1.5, 0.01):
        code, output = convert(coco, tmp_path / "x.spacy", "--dev-split", share)
        assert code == 1
        assert "share" in output
        assert not (tmp_path / "x.spacy").exists()
    code, output = convert(coco, tmp_path / "dev.spacy", "--dev-split", 0.2)
    assert (code, "name one with --dev-output" in output) == (1, True)


def test_convert_leaves_out_damaged_pictures_when_it_checks_them(convert, coco, tmp_path):
    path = coco.parent / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    assert "10 images" in convert(coco, tmp_path / "a.spacy")[1]
    code, output = convert(coco, tmp_path / "a.spacy", "--check")
    assert (code, "9 images" in output) == (0, True)
    assert "left out: " in output
    assert "3.png: the image is damaged or cut off" in output


def test_convert_goes_from_any_format_to_any(convert, coco, tmp_path):
    folder = coco.parent
    assert convert(coco, tmp_path / "a.jsonl", "--to", "prodigy")[0] == 0
    assert convert(tmp_path / "a.jsonl", tmp_path / "voc", "-t", "voc", "-i", folder)[0] == 0
    labels = ("--labels", "red,blue")
    studio = tmp_path / "ls.json"
    assert convert(tmp_path / "voc", studio, "-t", "label-studio", "-i", folder, *labels)[0] == 0
    assert convert(studio, tmp_path / "b.spacy", "-i", folder, "--strict")[0] == 0
    convert(coco, tmp_path / "a.spacy")
    assert boxes(tmp_path / "b.spacy") == boxes(tmp_path / "a.spacy")


def test_convert_of_something_wrong_says_what_and_where(convert, coco, tmp_path):
    for arguments, message in [
        ((coco, tmp_path / "a.json"), "name the format to write with --to"),
        ((coco, tmp_path / "a.spacy", "--strict"), "annotations[0]: Box(label='red'"),
        ((coco, tmp_path / "a.spacy", "--labels", "blue"), "there is no label 'red', only blue"),
        ((coco, tmp_path / "a.spacy", "--split", "train"), "has no such setting"),
        ((coco, tmp_path / "a.spacy", "--images", tmp_path), "there is no picture"),
        ((coco, tmp_path / "a.spacy", "--from", "yolo"), "there is no format 'yolo'"),
    ]:
        code, output = convert(*arguments)
        assert code == 1
        assert message in output.replace(" ✘", "")
        assert not (tmp_path / "a.spacy").exists()


def test_convert_saves_pictures_that_are_in_memory(convert, coco, tmp_path):
    image = to_uri(Picture(path=str(coco.parent / "0.png")))
    task = {"image": image, "spans": [], "answer": "accept"}
    (tmp_path / "a.jsonl").write_text(json.dumps(task))
    code, output = convert(tmp_path / "a.jsonl", tmp_path / "b.json", "--to", "coco")
    assert (code, "--save" in output) == (1, True)
    saved = ("--save", tmp_path / "saved")
    assert convert(tmp_path / "a.jsonl", tmp_path / "b.json", "--to", "coco", *saved)[0] == 0
    assert len(list((tmp_path / "saved").iterdir())) == 1


def test_paths_out_of_the_folder_need_to_be_allowed(convert, coco, tmp_path):
    data = json.loads(coco.read_text())
    for image in data["images"]:
        image["file_name"] = "../pictures/" + image["file_name"]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "coco.json"
    path.write_text(json.dumps(data))
    code, output = convert(path, tmp_path / "a.spacy")
    assert (code, "leads out of the folder" in output) == (1, True)
    assert convert(path, tmp_path / "a.spacy", "--allow-outside")[0] == 0
