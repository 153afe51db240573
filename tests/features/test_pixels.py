"""Pictures in squares, and boxes on the way there and back."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import CORNERS, as_bytes, random_pixels
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture
from spacy_torch.features.pixels import PADDING, Letterbox, read_pixels


def as_doc(source):
    return make_image_doc(Vocab(), Picture.from_source(source))


def test_picture_lies_in_the_middle_of_its_square():
    pixels, (place,) = read_pixels([as_doc(CORNERS)], size=6)
    assert pixels.dtype == numpy.uint8
    assert place == Letterbox(6, 4, 6)
    assert (place.inner, place.offset) == ((6, 4), (0, 1))
    want = numpy.full((6, 6, 3), PADDING)
    want[1:5] = CORNERS
    numpy.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), want)


def test_pictures_of_different_sizes_stand_in_one_batch():
    pixels, places = read_pixels([as_doc(random_pixels(40, 20)), as_doc(CORNERS)], size=12)
    assert pixels.shape == (2, 3, 12, 12)
    assert pixels.flags.c_contiguous
    assert [place.inner for place in places] == [(6, 12), (12, 8)]
    alone, _ = read_pixels([as_doc(CORNERS)], size=12)
    numpy.testing.assert_array_equal(pixels[1], alone[0])
    assert (pixels[0, :, :, :3] == PADDING).all()
    assert (pixels[0, :, :, 9:] == PADDING).all()


def test_no_documents_give_no_pixels():
    pixels, places = read_pixels([], size=8)
    assert pixels.shape == (0, 3, 8, 8)
    assert places == []


def test_jpeg_decoded_small_looks_like_the_whole_one():
    rows, columns = numpy.mgrid[:480, :640]
    smooth = numpy.stack([rows / 480, columns / 640, (rows + columns) / 1120], axis=2) * 255
    data = as_bytes(smooth.astype(numpy.uint8), "JPEG", quality=95)
    png = as_bytes(smooth.astype(numpy.uint8))
    (small, whole), _ = read_pixels([as_doc(data), as_doc(png)], size=64)
    assert numpy.abs(small.astype(int) - whole).max() <= 6


def test_line_of_pixels_keeps_one_pixel():
    place = Letterbox(1000, 1, 10)
    assert place.inner == (10, 1)
    pixels, _ = read_pixels([as_doc(random_pixels(1, 300))], size=16)
    assert (pixels[0, :, :7] == PADDING).all()


sides = st.integers(1, 3000)


@given(sides, sides, st.integers(1, 600))
def test_picture_fills_one_side_and_fits_the_other(width, height, size):
    place = Letterbox(width, height, size)
    inner, offset = place.inner, place.offset
    assert max(inner) == size
    assert all(
        start >= 0 and start + side <= size for start, side in zip(offset, inner, strict=True)
    )
    whole = place.to_square(numpy.array([[0, 0, width, height]]))
    numpy.testing.assert_allclose(whole, [[*offset, *inner]])


@given(
    sides,
    sides,
    st.integers(1, 600),
    st.lists(st.tuples(*[st.floats(-10, 4000)] * 4), max_size=5),
)
def test_boxes_come_back_from_the_square(width, height, size, rows):
    boxes = numpy.array(rows).reshape(-1, 4)
    place = Letterbox(width, height, size)
    back = place.to_original(place.to_square(boxes))
    assert back.shape == boxes.shape
    numpy.testing.assert_allclose(back, boxes, atol=1e-6 * max(width, height, 4000) / size)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="width, height and size must be >= 1"):
        Letterbox(0, 5, 5)
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        read_pixels([], size=0)


def test_document_without_a_picture_is_refused():
    with pytest.raises(ValueError, match="'a ' has no picture"):
        read_pixels([as_doc(CORNERS), Doc(Vocab(), ["a"])], size=8)
