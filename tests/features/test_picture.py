"""Where an image comes from, and what is refused."""

import base64
import builtins
import os

import numpy
import pytest
from images import CORNERS, as_bytes, random_pixels, save, write_image
from PIL import Image

from spacy_torch.features.picture import Picture


def pixels(picture):
    return numpy.asarray(picture.open())


@pytest.fixture
def path(tmp_path):
    return write_image(tmp_path / "corners.png")


def test_every_source_gives_the_same_pixels(path):
    content = path.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    sources = [path, str(path), content, bytearray(content), uri, Image.open(path), CORNERS]
    for source in sources:
        picture = Picture.from_source(source)
        numpy.testing.assert_array_equal(pixels(picture), CORNERS)
        assert picture.size == (6, 4)


def test_grey_and_alpha_arrays_are_taken():
    grey = numpy.array([[0, 100, 255]], dtype=numpy.uint8)
    numpy.testing.assert_array_equal(pixels(Picture.from_source(grey))[0, :, 1], grey[0])
    # Half transparent black on white: 255 * (1 - 128 / 255) = 127.
    faint = numpy.array([[[0, 0, 0, 128]]], dtype=numpy.uint8)
    assert pixels(Picture.from_source(faint)).tolist() == [[[127, 127, 127]]]


def test_nothing_is_read_before_someone_looks(tmp_path):
    picture = Picture.from_source(tmp_path / "missing.png")
    assert picture.name == str(tmp_path / "missing.png")
    for look in (picture.open, picture.read_bytes, lambda: picture.size, lambda: picture.key):
        with pytest.raises(FileNotFoundError, match=r"missing\.png"):
            look()
    with pytest.raises(FileNotFoundError, match=r"missing\.png: the picture cannot be read"):
        _ = picture.key


def test_key_is_that_of_the_content(path, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(path.read_bytes())
    picture = Picture.from_source(path)
    assert picture.key == Picture.from_source(other).key
    assert picture.key == Picture.from_source(path.read_bytes()).key
    assert len(picture.key) == 32
    assert int(picture.key, 16) > 0
    write_image(other, random_pixels(5, 5))
    os.utime(other, (1, 1))
    assert picture.key != Picture.from_source(other).key


def test_picture_in_memory_is_named_by_its_key(path):
    picture = Picture.from_source(path.read_bytes())
    assert picture.name == f"image-{picture.key}"
    assert picture.read_bytes() == path.read_bytes()
    assert Picture.from_source(path).read_bytes() == path.read_bytes()
    assert Picture.from_source(picture) is picture


def test_image_of_pillow_is_taken_as_it_should_be_seen():
    turned = Image.fromarray(numpy.rot90(CORNERS))
    turned.getexif()[0x0112] = 6  # show it turned clockwise
    numpy.testing.assert_array_equal(pixels(Picture.from_source(turned)), CORNERS)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "an image must be a path, .* got int"),
        (b"folder/file", TypeError, None),
        (CORNERS.astype(float), TypeError, r"must be uint8 .* got float64 of \(4, 6, 3\)"),
        (CORNERS[..., :2], TypeError, r"got uint8 of \(4, 6, 2\)"),
        (CORNERS[:0], ValueError, r"must have pixels, got an array of the shape \(0, 6, 3\)"),
        ("", ValueError, "must not be empty"),
        (b"", ValueError, "must not be empty"),
        ("https://example.org/a.png", ValueError, "a.png: nothing is fetched from a URL"),
        ("FILE:///etc/passwd", ValueError, "nothing is fetched from a URL"),
        ("s3://bucket/a.png", ValueError, "nothing is fetched from a URL"),
        ("data:image/png,abc", ValueError, "a data URI must look like data:image/png;base64"),
        ("data:image/png;base64,ab*c", ValueError, "is not valid Base64"),
        ("data:image/png;base64,", ValueError, "has no data"),
    ],
)
def test_source_that_is_no_image_is_refused(source, error, message):
    if message is None:  # bytes are always the content of a file, never its name
        with pytest.raises(ValueError, match="this is not an image of a known format"):
            Picture.from_source(source).open()
        return
    with pytest.raises(error, match=message):
        Picture.from_source(source)


def test_path_in_bytes_is_refused():
    class Odd(os.PathLike):
        def __fspath__(self):
            return b"a.png"

    with pytest.raises(TypeError, match="an image must be a path, .* got Odd"):
        Picture.from_source(Odd())


def test_picture_needs_exactly_one_source():
    with pytest.raises(ValueError, match="either a path or data"):
        Picture()
    with pytest.raises(ValueError, match="either a path or data"):
        Picture(path="a.png", data=b"a")
    with pytest.raises(ValueError, match="max_pixels must be >= 1, got 0"):
        Picture(path="a.png", max_pixels=0)


def test_without_pillow_the_error_names_the_extra(monkeypatch, path):
    real = builtins.__import__

    def without_pillow(name, *args, **kwargs):
        if name == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match=r'pip install "spacy-torch\[images\]"'):
        Picture.from_source(path).open()


def test_open_small_gives_the_full_size():
    picture = Picture.from_source(as_bytes(random_pixels(300, 200), "JPEG"))
    image, size = picture.open_small(at_least=50)
    assert size == (200, 300)
    assert 50 <= max(image.size) < 150
    assert save(Picture.from_source(CORNERS).open_small(at_least=2)[0]) == save(
        Image.fromarray(CORNERS)
    )
