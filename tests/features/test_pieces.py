"""Which pieces are whose; the tokenizer is that of `tiny_transformer`, and a byte-level one."""

import copy

import numpy
import pytest
import spacy
import torch
from tiny_transformer import make_transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spacy_torch.architectures.pretrained import fetch_pretrained, parse_tokenizer
from spacy_torch.features.pieces import Pieces, collect_texts

NLP = spacy.blank("en")


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory) -> torch.Tensor:
    folder = make_transformer(tmp_path_factory.mktemp("transformer"))
    return fetch_pretrained(str(folder))[1]["tokenizer_json"]


def make_pieces(tokenizer_json: torch.Tensor, *, window: int = 12, overlap: float = 0.25) -> Pieces:
    pieces = Pieces(parse_tokenizer, n_bytes=len(tokenizer_json), window=window, overlap=overlap)
    pieces.load_state_dict({"tokenizer_json": tokenizer_json})
    return pieces


def pieces_of_tokens(pieces: Pieces, docs: list) -> list[list[tuple[str, list[str]]]]:
    """For each document its tokens with the text of their pieces."""
    batch = pieces(collect_texts(docs))
    found = iter(batch.rows.split(batch.counts.tolist()))
    id_to_piece = pieces.tokenizer.tokenizer.id_to_token
    return [
        [(token.text, [id_to_piece(int(batch.ids[row])) for row in next(found)]) for token in doc]
        for doc in docs
    ]


def test_words_have_their_pieces_and_white_space_has_none(tokenizer_json):
    docs = [NLP.make_doc("She  can swimming"), NLP.make_doc(""), NLP.make_doc("\n"), NLP("fish")]
    assert pieces_of_tokens(make_pieces(tokenizer_json), docs) == [
        [("She", ["she"]), (" ", []), ("can", ["can"]), ("swimming", ["swim", "##ming"])],
        [],
        [("\n", [])],
        [("fish", ["fish"])],
    ]


def test_tokens_that_share_a_piece_both_have_it(tokenizer_json):
    # "newyork" is the pieces "new" and "##york"; "don't" is "don", "'" and "t".
    words = ["n", "ewyo", "rk", "do", "n't"]
    doc = spacy.tokens.Doc(NLP.vocab, words=words, spaces=[False, False, True, False, False])
    assert pieces_of_tokens(make_pieces(tokenizer_json), [doc]) == [
        [
            ("n", ["new"]),
            ("ewyo", ["new", "##york"]),
            ("rk", ["##york"]),
            ("do", ["don"]),
            ("n't", ["don", "'", "t"]),
        ]
    ]


def test_span_is_read_as_a_document_of_its_own(tokenizer_json):
    doc = NLP.make_doc("a fish can swim")
    pieces = make_pieces(tokenizer_json)
    assert pieces_of_tokens(pieces, [doc[1:3], doc[3:]]) == [
        [("fish", ["fish"]), ("can", ["can"])],
        [("swim", ["swim"])],
    ]


def test_characters_count_whatever_their_bytes():
    # Byte-level: each of the four bytes of the emoji is a piece, a space belongs to the next.
    tokenizer = Tokenizer(
        models.BPE({letter: n for n, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    data = torch.frombuffer(bytearray(tokenizer.to_str().encode()), dtype=torch.uint8)
    pieces = make_pieces(data, window=50)
    doc = spacy.tokens.Doc(NLP.vocab, words=["é", "😀", "x"], spaces=[True, True, False])
    batch = pieces(collect_texts([doc, doc]))
    # The space after "é" and the one after the emoji are in no token.
    assert batch.counts.tolist() == [2, 4, 1] * 2
    assert batch.windows.tolist() == [9, 9]
    id_to_piece = tokenizer.id_to_token
    found = batch.rows.split(batch.counts.tolist())
    texts = [tokenizer.decode([int(batch.ids[row]) for row in rows]) for rows in found]
    assert texts == ["é", "😀", "x"] * 2
    assert id_to_piece(int(batch.ids[2])) == "Ġ"


@pytest.mark.parametrize("n_pieces", [0, 1, 10, 11, 100])
def test_windows_of_any_number_of_pieces(tokenizer_json, n_pieces):
    # 12 pieces with [CLS] and [SEP], so that the limit is 10.
    doc = spacy.tokens.Doc(NLP.vocab, words=["fish"] * n_pieces)
    pieces = make_pieces(tokenizer_json)
    batch = pieces(collect_texts([doc]))
    assert batch.counts.tolist() == [1] * n_pieces
    assert set(batch.windows.tolist()) <= {n_pieces + 2, 12}
    fish = pieces.tokenizer.tokenizer.token_to_id("fish")
    assert set(batch.ids[batch.rows].tolist()) <= {fish}
    for window in batch.ids.split(batch.windows.tolist()):
        assert (window[0], window[-1]) == (2, 3)
        assert set(window[1:-1].tolist()) == {fish}


def test_giant_token_has_all_its_pieces(tokenizer_json):
    # WordPiece takes a word of more than 100 letters as one unknown piece; signs are single.
    doc = spacy.tokens.Doc(NLP.vocab, words=["x" * 100_000, "'" * 100_000])
    batch = make_pieces(tokenizer_json)(collect_texts([doc]))
    assert batch.counts.tolist() == [1, 100_000]
    assert int(batch.windows.max()) == 12


def test_copy_and_new_json_have_a_tokenizer_of_their_own(tokenizer_json):
    pieces = make_pieces(tokenizer_json)
    before = pieces.tokenizer
    assert pieces.tokenizer is before
    copied = copy.deepcopy(pieces)
    changed = bytes(tokenizer_json.tolist()).replace(b'"fish": 8', b'"fisH": 8')
    changed = changed.replace(b'"fish":8', b'"fisH":8')
    assert changed != bytes(tokenizer_json.tolist())
    pieces.load_state_dict({"tokenizer_json": torch.tensor(list(changed), dtype=torch.uint8)})
    assert pieces.tokenizer.tokenizer.token_to_id("fish") is None
    assert copied.tokenizer.tokenizer.token_to_id("fish") == 8


def test_window_needs_room_beside_the_special_pieces(tokenizer_json):
    with pytest.raises(ValueError, match="window must be > 2, the number of special pieces"):
        make_pieces(tokenizer_json, window=2)(collect_texts([NLP("fish")]))


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_overlap_is_a_share(tokenizer_json, overlap):
    with pytest.raises(ValueError, match="overlap must be >= 0 and < 1"):
        make_pieces(tokenizer_json, overlap=overlap)


def test_texts_of_no_documents():
    texts = collect_texts([])
    assert (texts.texts, len(texts.starts), len(texts.lengths)) == ([], 0, 0)
    assert numpy.array_equal(texts.starts, texts.stops)
