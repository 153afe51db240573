"""Files of all kinds, whole and damaged, as upright RGB images."""

import io
import subprocess
import sys
import zlib

import numpy
import pytest
from images import CORNERS, as_bytes, random_pixels, save
from PIL import Image

from spacy_torch.features.decoding import (
    MAX_PIXELS,
    encode_png,
    read_size,
    read_upright,
    to_upright_rgb,
)


def read(source, **options):
    options = {"name": "a.png", "max_pixels": MAX_PIXELS, **options}
    return read_upright(source, **options)


def pixels(source):
    return numpy.asarray(read(source)[0])


# What a camera stores for each orientation, made from the upright picture by hand: e.g. 6 says
# that the first row of the file is the right side of the picture, seen from above.
STORED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.swapaxes(0, 1),
    6: CORNERS.swapaxes(0, 1)[::-1],
    7: CORNERS[::-1, ::-1].swapaxes(0, 1),
    8: CORNERS.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_picture_is_upright_as_exif_says(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    data = as_bytes(numpy.ascontiguousarray(STORED[orientation]), format, exif=exif, **options)
    image, size = read(data)
    numpy.testing.assert_array_equal(numpy.asarray(image), CORNERS)
    assert size == read_size(data, name="", max_pixels=MAX_PIXELS) == (6, 4)


def test_draft_of_a_turned_jpeg_knows_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = numpy.zeros((160, 320, 3), dtype=numpy.uint8)
    wide[:, :160] = 255  # on the left as stored, above when upright
    image, size = read(as_bytes(wide, "JPEG", exif=exif), at_least=40)
    assert size == (160, 320)
    assert image.size == (20, 40)
    assert numpy.asarray(image)[5].min() > 250
    assert numpy.asarray(image)[35].max() < 5


@pytest.mark.parametrize("value", [0, 9])
def test_orientation_that_does_not_exist_is_none(value):
    exif = Image.Exif()
    exif[0x0112] = value
    numpy.testing.assert_array_equal(pixels(as_bytes(CORNERS, exif=exif)), CORNERS)


def test_broken_exif_data_do_not_matter():
    data = as_bytes(CORNERS, "WEBP", lossless=True, exif=b"Exif\x00\x00broken")
    numpy.testing.assert_array_equal(pixels(data), CORNERS)


def test_greys_of_all_depths_look_the_same():
    ramp = numpy.array([[0, 64, 128, 255]], dtype=numpy.uint8)
    sixteen = ramp.astype(numpy.uint16) * 257  # 255 * 257 is the white of 16 bits
    sources = [
        as_bytes(ramp),
        as_bytes(sixteen),
        as_bytes(sixteen, "TIFF"),
        as_bytes(sixteen.astype(numpy.int32), "TIFF"),
        as_bytes(ramp.astype(numpy.float32) / 255, "TIFF"),
        as_bytes(ramp.astype(numpy.int32) * 100_000, "TIFF"),
    ]
    for data in sources:
        numpy.testing.assert_array_equal(pixels(data), numpy.repeat(ramp[..., None], 3, axis=2))
    flat = numpy.full((1, 2), 0.7, dtype=numpy.float32)
    assert pixels(as_bytes(flat, "TIFF")).max() == 0


def test_what_is_transparent_is_white():
    red = numpy.array([[[255, 0, 0, 255], [255, 0, 0, 0]]], dtype=numpy.uint8)
    want = [[[255, 0, 0], [255, 255, 255]]]
    assert pixels(as_bytes(red)).tolist() == want
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert pixels(save(palette, transparency=1)).tolist() == want
    assert pixels(save(palette, transparency=b"\xff\x00")).tolist() == want
    assert pixels(save(palette, "GIF", transparency=1)).tolist() == want
    grey = Image.new("LA", (2, 1), (0, 255))
    grey.putpixel((1, 0), (0, 0))
    assert pixels(save(grey)).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    rgb = Image.fromarray(red[..., :3])
    assert pixels(save(rgb, transparency=(255, 0, 0))).tolist() == [[[255] * 3] * 2]


def test_other_colour_spaces_become_rgb():
    one_bit = Image.new("1", (2, 1))
    one_bit.putpixel((1, 0), 1)
    assert pixels(save(one_bit)).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow
    red, green, blue = pixels(save(cmyk, "JPEG", quality=95))[4, 4]
    assert red > 240
    assert max(green, blue) < 15
    ycbcr = Image.fromarray(CORNERS).convert("YCbCr")
    assert abs(numpy.asarray(to_upright_rgb(ycbcr)).astype(int) - CORNERS).max() <= 3


def test_first_of_several_images_is_read():
    first, second = Image.fromarray(CORNERS), Image.new("RGB", (6, 4))
    data = save(first, "TIFF", save_all=True, append_images=[second])
    numpy.testing.assert_array_equal(pixels(data), CORNERS)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_half_a_file_is_refused_by_name(format, tmp_path):
    data = as_bytes(random_pixels(64, 64), format)
    path = tmp_path / "half.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"half\.img: (the image is damaged|this is not an image)"):
        read(str(path), name=str(path))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_any_damaged_file_gives_pixels_or_an_error_that_names_it(format):
    data = as_bytes(random_pixels(16, 16), format)
    generator = numpy.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            damaged[place] = generator.integers(0, 256)
        for attempt in (bytes(damaged), bytes(damaged[: generator.integers(1, len(data))])):
            try:
                assert read(attempt, name="x.img", max_pixels=10_000)[0].mode == "RGB"
            except ValueError as error:
                assert str(error).startswith("x.img: ")  # noqa: PT017  (some are still readable)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0"],
)
def test_what_is_no_image_of_a_known_format_is_refused(content):
    with pytest.raises(ValueError, match=r"a\.png: this is not an image of a known format"):
        read(content)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png: there is no image .*No such file"):
        read(str(tmp_path / "a.png"))
    with pytest.raises((IsADirectoryError, PermissionError), match=r"a\.png: there is no image"):
        read(str(tmp_path))


def bomb(width, height):
    """A PNG that says it is as large as that."""
    data = bytearray(as_bytes(CORNERS))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(ValueError, match="has 6 x 4 pixels, more than the 23 that are read"):
        read(as_bytes(CORNERS), max_pixels=23)
    assert read(as_bytes(CORNERS), max_pixels=24)[1] == (6, 4)
    with pytest.raises(ValueError, match="has 6 x 4 pixels"):
        read_size(as_bytes(CORNERS), name="", max_pixels=23)
    for side in (10_000, 60_000):  # from these on Pillow warns, and refuses
        with pytest.raises(ValueError, match="a.png: Image size .* decompression bomb"):
            read(bomb(side, side))


def test_encoded_png_has_the_same_pixels():
    data = encode_png(Image.fromarray(CORNERS))
    numpy.testing.assert_array_equal(numpy.asarray(Image.open(io.BytesIO(data))), CORNERS)


def test_pillow_is_not_imported_before_an_image_is_opened():
    code = (
        "import sys; from spacy_torch.features.picture import Picture; Picture.from_source('a');"
        "assert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
