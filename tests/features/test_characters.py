import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.features.characters import HashedCharacters
from spacy_torch.features.tokens import HashedTokens


@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))
def test_characters_of_each_word_are_its_code_points(words):
    batch = HashedCharacters(100, longest=8)(words)
    assert batch.lengths.tolist() == [len(word) for word in words]
    assert batch.rows.tolist() == [ord(char) % 100 + 1 for word in words for char in word]


@pytest.mark.parametrize(
    ("longest", "kept"), [(6, "abcxyz"), (5, "abcyz"), (1, "a"), (26, "abc" + "-" * 20 + "xyz")]
)
def test_beginning_and_end_of_a_long_word_are_read(longest, kept):
    (whole,) = (HashedCharacters(200, longest=99)([kept]),)
    cut = HashedCharacters(200, longest=longest)(["abc" + "-" * 20 + "xyz"])
    assert cut.rows.tolist() == whole.rows.tolist()


def test_giant_word_costs_no_more_than_the_cut():
    batch = HashedCharacters(200, longest=32)(["x" * 100_000, "short"])
    assert batch.lengths.tolist() == [32, 5]


def test_words_that_share_all_attributes_have_their_own_characters():
    nlp = spacy.blank("en")
    featurize = HashedTokens(["SHAPE"], [9], characters=HashedCharacters(200))
    batch = featurize([nlp("able baker"), nlp(""), nlp("able")])
    words = batch.characters.rows.split(batch.characters.lengths.tolist())
    spelled = ["".join(chr(row - 1) for row in words[number]) for number in batch.inverse]
    assert spelled == ["able", "baker", "able"]


def test_no_tokens_have_no_characters():
    featurize = HashedTokens(["SHAPE"], [9], characters=HashedCharacters(200))
    for docs in ([], [spacy.blank("en")("")]):
        assert featurize(docs).characters.lengths.shape == (0,)


@pytest.mark.parametrize("name", ["rows", "longest"])
def test_size_of_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        HashedCharacters(**{"rows": 9, "longest": 9, name: 0})
