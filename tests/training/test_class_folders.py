"""`spacy-torch.ClassFolders.v1`."""

import pytest
import spacy
from images import CORNERS, as_bytes, random_pixels, write_image
from spacy.util import registry

from spacy_torch.features.image_docs import get_picture, has_picture
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.class_folders import write_class_folders
from spacy_torch.training.noticed import Noticed


def read(path, **settings):
    block = {"@readers": "spacy-torch.ClassFolders.v1", "path": str(path), **settings}
    reader = registry.resolve({"corpus": block})["corpus"]
    return reader, list(reader(spacy.blank("image")))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for name in ("dog/2.png", "dog/1.png", "cat/deep/3.PNG", ".hidden/4.png", "cat/.5.png"):
        write_image(root / name)
    return root


def test_image_is_of_the_class_of_its_folder_and_of_no_other(folder):
    _, examples = read(folder)
    found = [
        (get_picture(example.predicted).path[-5:], example.reference.cats) for example in examples
    ]
    cat, dog = {"cat": 1.0, "dog": 0.0}, {"cat": 0.0, "dog": 1.0}
    assert found == [("3.PNG", cat), ("1.png", dog), ("2.png", dog)]
    assert all(not example.predicted.cats for example in examples)
    assert all(has_picture(example.predicted) for example in examples)


def test_other_files_and_empty_folders_are_counted(folder):
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cow").mkdir()
    reader, examples = read(folder)
    assert len(examples) == 3
    assert examples[0].reference.cats == {"cat": 1.0, "cow": 0.0, "dog": 0.0}
    assert reader.noticed.counts == {
        "files without the suffix of an image": 1,
        "classes without images": 1,
    }


def test_classes_may_be_given(folder):
    _, (example, *_) = read(folder, labels=["dog", "cat", "cow"])
    assert example.reference.cats == {"dog": 0.0, "cat": 1.0, "cow": 0.0}
    with pytest.raises(ValueError, match="data/dog: there is no label 'dog', only cat, cow"):
        read(folder, labels=["cat", "cow"])


def test_link_out_of_the_folder_is_refused_unless_allowed(folder, tmp_path):
    secret = write_image(tmp_path / "secret.png")
    (folder / "cat" / "link.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"link\.png: .*leads out of the folder"):
        read(folder)
    assert len(read(folder, allow_outside=True)[1]) == 4


def test_folder_that_is_missing_or_has_no_images_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: there is no such folder of classes"):
        read(tmp_path / "none")
    with pytest.raises(ValueError, match="has no annotated images: it is empty"):
        read(tmp_path)


def test_written_folders_are_read_again(tmp_path):
    pictures = [write_image(tmp_path / str(n) / "same.png", random_pixels(3, n)) for n in (3, 4)]
    images = [
        AnnotatedImage(Picture.from_source(pictures[0]), cats={"a": 1.0, "b": 0.0}),
        AnnotatedImage(Picture.from_source(pictures[1]), cats={"a": 1.0, "b": 0.0}),
        AnnotatedImage(Picture.from_source(as_bytes(CORNERS, "GIF")), cats={"b": 1.0}),
        AnnotatedImage(Picture.from_source(CORNERS), cats={"a": 1.0, "b": 1.0}),
    ]
    noticed = Noticed()
    write_class_folders(images, tmp_path / "out", noticed=noticed)
    assert noticed.counts == {"images left out that are not of exactly one class": 1}
    _, examples = read(tmp_path / "out")
    found = {get_picture(example.reference).key: example.reference.cats for example in examples}
    assert found == {
        images[0].picture.key: {"a": 1.0, "b": 0.0},
        images[1].picture.key: {"a": 1.0, "b": 0.0},
        images[2].picture.key: {"a": 0.0, "b": 1.0},
    }
    assert [file.suffix for file in (tmp_path / "out" / "b").iterdir()] == [".gif"]
    with pytest.raises(ValueError, match="there is something in .*out: name another folder"):
        write_class_folders(images, tmp_path / "out", noticed=noticed)


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".", ".git"])
def test_class_that_would_lead_elsewhere_is_refused(name, tmp_path):
    image = AnnotatedImage(Picture.from_source(CORNERS), cats={name: 1.0})
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        write_class_folders([image], tmp_path / "out", noticed=Noticed())
