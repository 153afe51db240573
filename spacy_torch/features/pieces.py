"""Texts to the pieces of a pretrained model's tokenizer, aligned with spaCy's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc, Span
from torch import Tensor, nn

from spacy_torch.features.token_ids import lengths_of, token_ids
from spacy_torch.features.windows import Ints, plan_windows, ranges
from spacy_torch.nn.pieces import PieceBatch


class Texts:
    """The texts of a batch and where their tokens are: all that a tokenizer needs.

    Attributes:
        texts: one per document.
        starts, stops: the characters of each token, all documents one after the other as
            in `"".join(texts)`.
        lengths: the number of tokens of each document.
    """

    # Not a tuple or dataclass: the bridge, which puts arrays on the module's device, is to
    # leave these on the CPU.

    def __init__(self, texts: Sequence[str], starts: Ints, stops: Ints, lengths: Ints) -> None:
        self.texts = list(texts)
        self.starts = starts
        self.stops = stops
        self.lengths = lengths


def collect_texts(docs: Sequence[Doc | Span]) -> Texts:
    """The texts of documents or spans, and the places of their tokens."""
    texts = [doc.text for doc in docs]
    lengths = lengths_of(docs)
    starts, sizes = token_ids(docs, [IDX, LENGTH]).T.astype(np.int64)
    # A span's tokens count from the start of its document.
    first = [doc.start_char if isinstance(doc, Span) else 0 for doc in docs]
    starts = starts + np.repeat(text_offsets(texts) - np.asarray(first, dtype=np.int64), lengths)
    return Texts(texts, starts, starts + sizes, lengths)


def text_offsets(texts: Sequence[str]) -> Ints:
    """Where each text starts in `"".join(texts)`."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return np.cumsum(sizes) - sizes


class Tokenizer(NamedTuple):
    """A tokenizer of the `tokenizers` library, and what it puts around a window."""

    tokenizer: Any
    prefix: Ints
    suffix: Ints


class Pieces(nn.Module):
    """Makes windows of pieces of texts, and finds the pieces of each token.

    Each text is tokenized once and whole. A piece belongs to every token with which it
    shares a character: a token that starts inside a piece has that piece, too, and one
    that is not in the pieces at all, as white space is not, has none.

    The tokenizer's JSON is a buffer, so that it is saved and loaded with the weights.

    Args:
        parse: makes a tokenizer of the JSON.
        n_bytes: the length of the JSON.
        window: the largest number of pieces, special ones included, that the model sees at
            once.
        overlap: the share of a window that it has in common with the next one.
    """

    tokenizer_json: Tensor

    def __init__(
        self, parse: Callable[[bytes], Any], *, n_bytes: int, window: int, overlap: float
    ) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be >= 0 and < 1, a share of a window, got {overlap}")
        self.window = window
        self.overlap = overlap
        self.register_buffer("tokenizer_json", torch.zeros(n_bytes, dtype=torch.uint8))
        self._parse = parse
        self._parsed: tuple[Tensor, int, Tokenizer] | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the JSON that is in the buffer now."""
        if (
            self._parsed is None
            or self._parsed[0] is not self.tokenizer_json
            or self._parsed[1] != self.tokenizer_json._version
        ):
            tokenizer = self._parse(self.tokenizer_json.cpu().numpy().tobytes())
            self._parsed = (
                self.tokenizer_json,
                self.tokenizer_json._version,
                Tokenizer(tokenizer, *_frame(tokenizer)),
            )
        return self._parsed[2]

    def forward(self, texts: Texts) -> PieceBatch:
        """Tokenize a batch.

        Raises:
            ValueError: no piece fits into a window beside the special ones.
        """
        tokenizer, prefix, suffix = self.tokenizer
        size = self.window - len(prefix) - len(suffix)
        if size < 1:
            raise ValueError(
                f"window must be > {len(prefix) + len(suffix)}, the number of special pieces "
                f"that the tokenizer adds to each, got {self.window}"
            )
        ids, starts, stops, n_pieces = _tokenize(tokenizer, texts.texts)
        windows = plan_windows(n_pieces, size=size, overlap=min(int(self.overlap * size), size - 1))
        shown = windows.stop - windows.start
        lengths = shown + len(prefix) + len(suffix)
        places = np.cumsum(lengths) - lengths
        framed = np.empty(int(lengths.sum()), dtype=np.int64)
        framed[places[:, None] + np.arange(len(prefix))] = prefix
        content = places + len(prefix)
        first = (np.cumsum(n_pieces) - n_pieces)[windows.sequence]
        framed[ranges(content, shown)] = ids[ranges(first + windows.start, shown)]
        framed[(content + shown)[:, None] + np.arange(len(suffix))] = suffix
        row_of_piece = ranges(
            content + windows.own_start - windows.start, windows.own_stop - windows.own_start
        )
        begin = np.searchsorted(stops, texts.starts, side="right")
        counts = np.maximum(np.searchsorted(starts, texts.stops, side="left") - begin, 0)
        return PieceBatch(
            ids=torch.from_numpy(framed),
            windows=torch.from_numpy(lengths),
            rows=torch.from_numpy(row_of_piece[ranges(begin, counts)]),
            counts=torch.from_numpy(counts),
            lengths=torch.from_numpy(texts.lengths),
        )


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[Ints, Ints, Ints, Ints]:
    """The pieces of all texts: ids, first and last character in all texts, number per text."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    n_pieces = np.fromiter(map(len, encodings), dtype=np.int64, count=len(texts))
    ids = _join([found.ids for found in encodings])
    offsets = _join([found.offsets for found in encodings]).reshape(-1, 2)
    starts, stops = (offsets + np.repeat(text_offsets(texts), n_pieces)[:, None]).T
    # In the order of the text, but for what a normalizer may have turned round.
    return ids, np.maximum.accumulate(starts), np.maximum.accumulate(stops), n_pieces


def _join(rows: Sequence[Sequence[Any]]) -> Ints:
    """The numbers of all rows; an empty row, which NumPy takes for floats, has none."""
    return np.concatenate([np.asarray(row, dtype=np.int64).reshape(-1) for row in [[], *rows]])


def _frame(tokenizer: Any) -> tuple[Ints, Ints]:
    """The special pieces that come before and after a text."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    ids = np.asarray(encoding.ids, dtype=np.int64)
    own = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
    if not len(own):
        own = np.asarray([(len(ids) + 1) // 2])
        return ids[: own[0]], ids[own[0] :]
    return ids[: own[0]], ids[own[-1] + 1 :]
