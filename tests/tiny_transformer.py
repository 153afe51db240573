"""A folder with a transformer small enough to train in a test, as the hub would give it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Before the first import of the hub's client, which reads it then: no test looks at a network.
os.environ["HF_HUB_OFFLINE"] = "1"

WIDTH = 16
MAX_PIECES = 12
WORDS = ["she", "can", "a", "fish", "swim", "##ming", "##s", "new", "##york", "do", "don", "'", "t"]
LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]


def make_transformer(folder: Path, **config: Any) -> Path:
    """Save a BERT of two layers with random weights and a WordPiece vocabulary."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *dict.fromkeys([*WORDS, *LETTERS]), *(f"##{letter}" for letter in LETTERS)]
    vocab = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As sentence-transformers leave it: neither must reach us.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_PIECES, **names
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(vocab),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": MAX_PIECES,
        "initializer_range": 0.3,
    }
    BertModel(BertConfig(**{**shape, **config})).save_pretrained(folder)
    return folder
