"""spaCy's own token encoders, trained: which have a counterpart in torch, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spacy.attrs import IDS
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.convert import copy_hash_embed_cnn
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.tok2vec import build_tok2vec
from spacy_torch.bridge.model import get_shim
from spacy_torch.features.token_ids import attribute_ids
from spacy_torch.features.tokens import FIRST_SEED
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN

Tok2Vec = Model[list[Doc], list[Floats2d]]

_ENCODER = "spacy-torch.HashEmbedCNN.v1"
_NAMES_OF_ATTRS = {number: name for name, number in IDS.items()}


def translate_block(block: Mapping[str, Any]) -> dict[str, Any]:
    """The config block of ours that is the same function as a stock `[tok2vec]` block.

    Args:
        block: of `spacy.HashEmbedCNN`, or of `spacy.Tok2Vec` with `spacy.MultiHashEmbed`
            and `spacy.MaxoutWindowEncoder`; complete, and without variables.

    Raises:
        ValueError: there is none; the message is the reason.
    """
    encoder = {"@torch_encoders": _ENCODER, **_read_settings(block), "dropout": None}
    return {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": encoder, "runtime": None}


def convert_tok2vec(stock: Tok2Vec, block: Mapping[str, Any]) -> Tok2Vec:
    """The model that a translated block describes, with the weights of the stock one.

    Raises:
        ValueError: the stock model is not what its block said; the message is the reason.
    """
    settings = {key: value for key, value in block["encoder"].items() if key[0] != "@"}
    _check_hashing(stock, settings)
    model = build_tok2vec(build_hash_embed_cnn(**settings))
    shim = get_shim(model)
    statics = [node for node in stock.walk() if node.name == "static_vectors"]
    shim.initialize({"vector_width": statics[0].get_dim("nM")} if statics else {})
    assert isinstance(shim.module, HashEmbedCNN)
    copy_hash_embed_cnn(stock, shim.module)
    return model


def find_tok2vecs(model: Model[Any, Any]) -> list[Tok2Vec]:
    """The parts of a model that embed and encode documents, each once."""
    nodes = model.walk(order="dfs_pre")
    return [node for node in nodes if node.has_ref("embed") and node.has_ref("encode")]


def _read_settings(block: Mapping[str, Any]) -> dict[str, Any]:
    name = _short_name(block)
    if name in ("HashEmbedCNN.v1", "HashEmbedCNN.v2"):
        n_rows = block["embed_size"]
        with_subwords = block["subword_features"]
        embed = {
            # What is built inside has the same defect as MultiHashEmbed of the same number.
            "@architectures": f"spacy.MultiHashEmbed.{name[-2:]}",
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"] if with_subwords else ["NORM"],
            "rows": [n_rows, *[n_rows // 2] * 3] if with_subwords else [n_rows],
            "include_static_vectors": bool(block["pretrained_vectors"]),
        }
        encode = block
    elif name in ("Tok2Vec.v1", "Tok2Vec.v2"):
        embed, encode = block["embed"], block["encode"]
        for part, kind in ((embed, "MultiHashEmbed"), (encode, "MaxoutWindowEncoder")):
            if _short_name(part) not in (f"{kind}.v1", f"{kind}.v2"):
                raise ValueError(f"there is no module yet for {part['@architectures']}")
    else:
        raise ValueError(f"there is no module yet for {block['@architectures']}")
    if embed["include_static_vectors"] and _short_name(embed).endswith(".v1"):
        raise ValueError(
            f"{block['@architectures']} gives words without a static vector the last one of the "
            "table, which our module does not"
        )
    return {
        "width": encode["width"],
        "depth": encode["depth"],
        "attrs": [_NAMES_OF_ATTRS[number] for number in attribute_ids(embed["attrs"])],
        "rows": list(embed["rows"]),
        "window": encode["window_size"],
        "pieces": encode["maxout_pieces"],
        "static_vectors": embed["include_static_vectors"],
    }


def _short_name(block: Mapping[str, Any]) -> str:
    return block["@architectures"].removeprefix("spacy-legacy.").removeprefix("spacy.")


def _check_hashing(stock: Tok2Vec, settings: Mapping[str, Any]) -> None:
    """Attributes, seeds and windows are kept with the weights and could be of an older time."""
    nodes = list(stock.walk(order="dfs_pre"))
    attrs = [node.attrs["columns"] for node in nodes if node.name == "extract_features"]
    tables = [
        (node.attrs["column"], node.attrs["seed"]) for node in nodes if node.name == "hashembed"
    ]
    windows = {node.attrs["window_size"] for node in nodes if node.name == "expand_window"}
    expected = [(index, FIRST_SEED + index) for index in range(len(settings["rows"]))]
    if [attribute_ids(names) for names in attrs] != [attribute_ids(settings["attrs"])]:
        raise ValueError(f"the model reads the attributes {attrs}, the config {settings['attrs']}")
    if tables != expected:
        raise ValueError(f"its tables have (column, seed) = {tables}, ours {expected}")
    if windows - {settings["window"]}:
        raise ValueError(f"the model has the windows {windows}, the config {settings['window']}")
