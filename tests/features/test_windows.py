import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.features.windows import plan_windows, ranges


@given(st.lists(st.integers(0, 60), max_size=5), st.integers(1, 9), st.data())
def test_every_position_belongs_to_one_window_that_shows_it(lengths, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    windows = plan_windows(numpy.array(lengths, dtype=int), size=size, overlap=overlap)
    owned = [[] for _ in lengths]
    for sequence, start, stop, own_start, own_stop in zip(*windows, strict=True):
        assert start <= own_start <= own_stop <= stop <= lengths[sequence]
        assert stop - start == min(size, lengths[sequence])
        owned[sequence] += range(own_start, own_stop)
    assert owned == [list(range(length)) for length in lengths]


@given(st.integers(1, 60), st.integers(2, 9), st.data())
def test_position_belongs_to_the_window_where_it_is_farthest_from_the_edge(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    windows = plan_windows(numpy.array([length]), size=size, overlap=overlap)

    def distance(position, start, stop):
        # The ends of the text are no edges that anything was cut off at.
        left = position - start if start else length
        right = stop - 1 - position if stop < length else length
        return min(left, right)

    for _, start, stop, own_start, own_stop in zip(*windows, strict=True):
        for position in range(own_start, own_stop):
            found = distance(position, start, stop)
            others = [
                distance(position, other_start, other_stop)
                for other_start, other_stop in zip(windows.start, windows.stop, strict=True)
                if other_start <= position < other_stop
            ]
            assert found >= max(others) - 1  # the middle of an even number may go either way


@pytest.mark.parametrize(
    ("length", "starts"), [(0, []), (1, [0]), (10, [0]), (11, [0, 1]), (20, [0, 7, 10])]
)
def test_windows_overlap_and_the_last_is_as_large_as_the_others(length, starts):
    windows = plan_windows(numpy.array([length]), size=10, overlap=3)
    assert windows.start.tolist() == starts
    assert windows.stop.tolist() == [min(start + 10, length) for start in starts]


def test_ranges_are_counted_through_one_after_the_other():
    found = ranges(numpy.array([5, 9, 0]), numpy.array([3, 0, 2]))
    assert found.tolist() == [5, 6, 7, 0, 1]
