"""Pictures go through all that spaCy does: training, evaluating, packaging, processes."""

import shutil
import subprocess
import sys

import numpy
import pytest
import spacy
from images import random_pixels, write_image
from spacy.cli.evaluate import evaluate
from spacy.cli.train import train
from spacy.util import load_model_from_path
from thinc.api import Config

from spacy_torch.training.image_formats import read_images, write_images

CONFIG = """
[nlp]
lang = "image"
pipeline = ["torch_textcat"]

[components]

[components.torch_textcat]
factory = "torch_textcat"

[components.torch_textcat.model]
@architectures = "spacy-torch.ImageClassifier.v1"
exclusive_classes = true

[components.torch_textcat.model.encoder]
@torch_encoders = "spacy-torch.ImageCNN.v1"
width = 16
size = 32

[corpora]

[corpora.train]
@readers = "spacy-torch.ClassFolders.v1"

[corpora.dev]
@readers = "spacy-torch.ClassFolders.v1"

[training]
max_steps = 30
eval_frequency = 15

[training.optimizer]
@optimizers = "spacy-torch.AdamW.v1"
learn_rate = 0.01
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a pipeline that tells dark from light pictures, and its data."""
    folder = tmp_path_factory.mktemp("trained")
    for number in range(24):
        pixels = random_pixels(20, 30, seed=number) // 4
        name = ("dark", "light")[number % 2]
        part = "train" if number < 16 else "dev"
        write_image(folder / part / name / f"{number}.png", pixels + 180 * (number % 2))
    config = Config().from_str(CONFIG)
    for part in ("train", "dev"):
        config["corpora"][part]["path"] = str(folder / part)
    spacy.blank("image").config.merge(config).to_disk(folder / "config.cfg")
    train(folder / "config.cfg", folder / "output")
    return folder


def paths(folder):
    return sorted(map(str, (folder / "dev").rglob("*.png")))


def best(doc):
    return max(doc.cats, key=doc.cats.__getitem__)


@pytest.mark.slow
def test_pipeline_learns_from_folders_and_is_evaluated_on_converted_files(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-best")
    for path in paths(trained):
        assert best(nlp(path)) in path
    reader = read_images(trained / "dev", "folders")
    write_images(reader.images, tmp_path / "dev.spacy", "spacy", nlp=nlp)
    scores = evaluate(str(trained / "output" / "model-best"), tmp_path / "dev.spacy", silent=True)
    assert scores["cats_macro_f"] == 1.0


@pytest.mark.slow
def test_two_processes_and_a_package_annotate_alike(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-best")
    expected = [doc.cats for doc in nlp.pipe(paths(trained))]
    for found, want in zip(
        nlp.pipe(paths(trained), n_process=2, batch_size=3), expected, strict=True
    ):
        assert found.cats == pytest.approx(want, abs=1e-5)
    # In a process of its own, as spaCy leaves files open here.
    command = [sys.executable, "-m", "spacy", "package", str(trained / "output" / "model-best")]
    options = ["--name", "light", "--version", "1.2.3", "--build", "none"]
    subprocess.run([*command, str(tmp_path), *options], check=True, capture_output=True)
    (built,) = tmp_path.glob("image_light-1.2.3/image_light/image_light-1.2.3")
    packaged = load_model_from_path(built)
    for found, want in zip(packaged.pipe(paths(trained)), expected, strict=True):
        assert found.cats == pytest.approx(want, abs=1e-6)


@pytest.mark.slow
def test_damaged_picture_costs_no_other_and_is_named(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-best")
    broken = tmp_path / "broken.png"
    shutil.copy(paths(trained)[0], broken)
    broken.write_bytes(broken.read_bytes()[:80])
    errors = []
    nlp.set_error_handler(lambda name, proc, docs, error: errors.append(str(error)))
    stream = [*paths(trained)[:3], broken, str(tmp_path / "none.png"), *paths(trained)[3:]]
    docs = list(nlp.pipe(stream))
    assert [doc.text for doc in docs] == paths(trained)
    assert all(numpy.isclose(sum(doc.cats.values()), 1) for doc in docs)
    assert ["broken.png" in errors[0], "none.png" in errors[1], len(errors)] == [True, True, 2]
