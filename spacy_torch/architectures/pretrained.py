"""Hugging Face models: read where they are, and rebuilt from what was saved of them.

The only file that knows the packages `transformers` and `tokenizers`, which are imported
when one of its functions is called and not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

INSTALL = 'python -m pip install "spacy-torch[transformers]"'
# What `max_pieces` is where a model sets no limit itself.
NO_LIMIT = 1_000_000
# Of no use to an encoder, or not a matter of the configuration here.
_IRRELEVANT = {"id2label", "label2id", "architectures", "dtype", "torch_dtype", "_name_or_path"}


def describe_pretrained(name: str) -> dict[str, Any]:
    """What is needed to rebuild a model, and how much its tokenizer takes; no weights.

    Args:
        name: a folder, or the name of a model on the Hugging Face hub.

    Returns:
        `width` and `n_layers` of the model; `transformer`: its configuration, as plain JSON;
        `tokenizer_bytes`: the length of the tokenizer's JSON; `max_pieces`: how many pieces
        the model can see at once.

    Raises:
        ImportError: the package `transformers` is not installed.
        ValueError: there is no such model, or it has no fast tokenizer.
    """
    transformers = _import("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(_not_found(name, error)) from error
    tokenizer = _read_tokenizer(name)
    kept = {key: value for key, value in config.to_dict().items() if key not in _IRRELEVANT}
    return {
        "width": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "transformer": json.loads(json.dumps(kept)),
        "tokenizer_bytes": len(_tokenizer_json(tokenizer)),
        "max_pieces": _max_pieces(config, tokenizer),
    }


def fetch_pretrained(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a model as float32, and its tokenizer's JSON as a tensor of bytes.

    Raises:
        ImportError: the package `transformers` is not installed.
        ValueError: there is no such model, it has no fast tokenizer, or some of its weights
            are missing.
    """
    transformers = _import("transformers")
    try:
        model, info = transformers.AutoModel.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise ValueError(_not_found(name, error)) from error
    encoder = _encoder_part(model).float()
    weights = encoder.state_dict()
    missing = sorted(set(info["missing_keys"]) & weights.keys())
    if missing:
        raise ValueError(
            f"The model {name!r} lacks weights that its configuration asks for: "
            f"{', '.join(missing[:5])} ({len(missing)} in all). They would be random: use a "
            "complete model, or a configuration that fits"
        )
    data = bytearray(_tokenizer_json(_read_tokenizer(name)))
    return weights, {"tokenizer_json": torch.frombuffer(data, dtype=torch.uint8)}


def build_transformer(config: Mapping[str, Any], *, checkpointing: bool = False) -> nn.Module:
    """A model of this configuration with random weights, without looking for any file.

    Args:
        checkpointing: what layers compute is computed again in the backward pass, not kept.

    Raises:
        ImportError: the package `transformers` is not installed.
    """
    transformers = _import("transformers")
    settings = dict(config)
    read = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    # A cache of keys and values is for generating text.
    read.use_cache = False
    model = _encoder_part(transformers.AutoModel.from_config(read)).float()
    if checkpointing and hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    elif checkpointing:  # transformers 4, and the first releases of 5
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def parse_tokenizer(data: bytes) -> Any:
    """A tokenizer of its JSON.

    Raises:
        ImportError: the package `tokenizers` is not installed.
    """
    return _import("tokenizers").Tokenizer.from_str(data.decode())


def _encoder_part(model: Any) -> Any:
    """A model without what is not needed for a vector per piece."""
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
    return model


def _read_tokenizer(name: str) -> Any:
    try:
        tokenizer = _import("transformers").AutoTokenizer.from_pretrained(name, use_fast=True)
    except (OSError, ValueError) as error:
        raise ValueError(_not_found(name, error)) from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"The model {name!r} has only a slow tokenizer, {type(tokenizer).__name__}, which "
            "does not say where its pieces are in the text: choose a model with a tokenizer.json"
        )
    return tokenizer


def _tokenizer_json(tokenizer: Any) -> bytes:
    # Long texts are cut into windows by us, and nothing is cut off.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer.backend_tokenizer.to_str().encode()


def _max_pieces(config: Any, tokenizer: Any) -> int:
    limit = min(int(tokenizer.model_max_length), NO_LIMIT)
    positions = getattr(config, "max_position_embeddings", None)
    if not positions or positions < 0:
        return limit
    if limit == NO_LIMIT:
        # RoBERTa and its kin count positions from behind the padding's number.
        positions -= (config.pad_token_id or 0) + 1
    return min(limit, positions)


def _not_found(name: str, error: Exception) -> str:
    return (
        f"The model {name!r} cannot be read: {error}. Give the path of a folder with a "
        "config.json, a tokenizer and weights, or the name of such a model on the Hugging Face "
        "hub"
    )


def _import(package: str) -> Any:
    try:
        if package == "transformers":
            import transformers

            return transformers
        import tokenizers

        return tokenizers
    except ImportError as error:
        raise ImportError(
            f"spacy-torch.HFTransformer.v1 needs the package {package!r}, which is not "
            f"installed: {INSTALL}"
        ) from error
