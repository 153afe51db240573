import pytest
import torch

from spacy_torch.nn.window_pyramid import (
    CELLS,
    read_layer,
    read_layers,
    score_windows,
    take_windows,
)


def random_map(width=3, rows=20, columns=24):
    return torch.rand(2, width, rows, columns)


@pytest.mark.parametrize("size", [(16.0, 12.0), (13.0, 21.0), (40.0, 48.0)])
def test_windows_have_about_the_size_asked_for_and_cover_the_map(size):
    layer = read_layer(random_map(), size, stride=2)
    boxes = layer.boxes()
    assert len(boxes) == layer.counts[0] * layer.counts[1]
    sides = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(
        sides, torch.tensor([size[1], size[0]]).expand_as(sides), rtol=0.15, atol=0
    )
    assert boxes[:, :2].min() == 0
    torch.testing.assert_close(boxes[:, 2:].amax(0), torch.tensor([48.0, 40.0]))


def test_window_larger_than_the_map_is_left_out():
    assert read_layer(random_map(), (60.0, 12.0), stride=2) is None
    layers = read_layers(random_map(), [(60.0, 12.0), (16.0, 12.0), (16.0, 90.0)], stride=2)
    assert len(layers) == 1


def test_score_of_a_window_is_the_product_with_its_vector():
    layer = read_layer(random_map(), (16.0, 12.0), stride=2)
    weight, bias = torch.randn(5, 3 * CELLS[0] * CELLS[1]), torch.randn(5)
    windows = torch.arange(layer.counts[0] * layer.counts[1])
    for item in range(2):
        vectors = take_windows(layer, windows, item=item)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        expected = vectors @ weight.T + bias
        scores = score_windows(layer, weight, bias)[item]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_cells_of_a_window_are_roots_of_averages_over_the_map():
    # One point of the map a half cell: nothing is resized.
    feature_map = torch.rand(1, 2, 8, 6)
    layer = read_layer(feature_map, (16.0, 12.0), stride=2)
    assert layer.boxes().tolist() == [[0, 0, 12, 16]]
    averages = feature_map.view(2, 4, 2, 3, 2).mean((2, 4))
    expected = averages.sqrt().flatten() / averages.sum().sqrt()
    torch.testing.assert_close(take_windows(layer, torch.tensor([0]))[0], expected)


def test_map_without_anything_has_vectors_of_zeros_and_finite_scores():
    layer = read_layer(torch.zeros(1, 2, 8, 8), (8.0, 8.0), stride=2)
    scores = score_windows(layer, torch.ones(1, 24), torch.ones(1))
    torch.testing.assert_close(scores, torch.ones_like(scores))
