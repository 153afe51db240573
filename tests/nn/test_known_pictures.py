import torch

from spacy_torch.nn.known_pictures import N_TESTS, KnownPicture, KnownPictures

PICTURE = KnownPicture(
    torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0).long()
)


def make_known(n_pictures):
    known = KnownPictures()
    for key in range(n_pictures):
        known.put(key, PICTURE)
    return known


def due(known, n_pictures):
    return sorted(key for key, _ in known.take_due(n_pictures))


def test_picture_is_tested_once_until_there_are_many_more():
    known = make_known(2)
    assert due(known, 10) == [0, 1]
    assert due(known, 12) == []  # a fifth more
    known.put(1, PICTURE)
    assert due(known, 12) == [1]
    assert due(known, 13) == [0, 1]


def test_picture_that_was_removed_is_not_tested_again():
    known = make_known(3)
    assert due(known, 10) == [0, 1, 2]
    known.remove([0, 2, 99])
    assert due(known, 20) == [1]
    known.put(1, PICTURE)
    known.remove([1])
    assert due(known, 20) == []


def test_only_those_that_came_last_are_kept():
    known = make_known(N_TESTS + 2)
    due(known, 1)
    assert known.drop_old() == [0, 1]
    assert known.drop_old() == []
    assert due(known, 2) == list(range(2, N_TESTS + 2))
