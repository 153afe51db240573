from collections import Counter

import pytest

from spacy_torch.training.held_out import hold_out
from spacy_torch.training.labelled_text import LabelledText

ROWS = [LabelledText(str(i), ("even" if i % 4 else "rare",)) for i in range(200)]


def test_every_label_is_held_out_in_proportion_and_no_row_is_lost():
    kept, held = hold_out(ROWS, fraction=0.1, seed=0)
    assert Counter(row.labels[0] for row in held) == {"even": 15, "rare": 5}
    assert sorted(kept + held) == sorted(ROWS)


def test_order_of_the_rows_is_kept():
    for part in hold_out(ROWS, fraction=0.3, seed=0):
        assert [int(row.text) for row in part] == sorted(int(row.text) for row in part)


def test_same_seed_gives_the_same_rows_and_another_seed_others():
    assert hold_out(ROWS, fraction=0.1, seed=1) == hold_out(ROWS, fraction=0.1, seed=1)
    assert hold_out(ROWS, fraction=0.1, seed=1) != hold_out(ROWS, fraction=0.1, seed=2)


def test_fraction_of_zero_holds_nothing_out():
    assert hold_out(ROWS, fraction=0.0, seed=0) == (ROWS, [])


def test_fraction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="fraction must be >= 0 and < 1, got 1.0"):
        hold_out(ROWS, fraction=1.0, seed=0)
