import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.window_sizes import ALIKE, LADDER, choose_sizes, default_sizes


def test_sizes_of_two_kinds_of_boxes_are_their_means():
    small, large = [[10.0, 20.0], [12.0, 20.0]], [[100.0, 50.0], [100.0, 60.0]]
    found = choose_sizes(torch.tensor(small + large), n_sizes=2, n_few=0)
    expected = torch.tensor([[10 * 1.2**0.5, 20], [100, 50 * 1.2**0.5]])
    torch.testing.assert_close(found[found[:, 0].argsort()], expected)


def test_one_box_gives_its_size_and_a_larger_and_a_smaller_one():
    found = choose_sizes(torch.tensor([[40.0, 30.0]]), n_sizes=8, n_few=20)
    expected = [[40 * step, 30 * step] for step in (1, LADDER, 1 / LADDER)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_no_boxes_have_no_sizes():
    assert choose_sizes(torch.zeros(0, 2), n_sizes=8, n_few=20).shape == (0, 2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 90), st.integers(2, 90)), min_size=1, max_size=15),
    st.randoms(use_true_random=False),
)
def test_order_of_the_boxes_makes_no_difference_and_no_two_sizes_are_alike(rows, generator):
    sizes = torch.tensor(rows, dtype=torch.float32)
    found = choose_sizes(sizes, n_sizes=4, n_few=10)
    generator.shuffle(rows)
    again = choose_sizes(torch.tensor(rows, dtype=torch.float32), n_sizes=4, n_few=10)
    assert torch.equal(found, again)
    apart = (found.log()[:, None] - found.log()).abs().amax(2).exp()
    assert (apart + 2 * torch.eye(len(found)) > ALIKE - 1e-4).all()


def test_default_sizes_are_from_small_to_half_of_the_picture():
    heights = [height for height, _ in default_sizes(280)]
    assert min(heights) < 20
    assert 140 < max(heights) < 170
