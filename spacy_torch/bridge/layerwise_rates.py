"""Parameter groups that let a pretrained transformer learn layer by layer."""

from typing import Any


def build_layerwise_rates(
    n_layers: int,
    *,
    learn_rate_factor: float = 1.0,
    decay: float = 0.9,
    unfreeze_every: int = 0,
) -> list[dict[str, Any]]:
    """Optimizer groups for `spacy-torch.HFTransformer.v1`: lower layers learn more slowly.

    The top layer has the optimizer's rate times `learn_rate_factor`, each layer below
    `decay` times the rate of the one above it, and the embeddings (with all else that is in
    no layer) that of the lowest layer times `decay`. All share the optimizer's schedule, and
    what is not in the transformer, such as a classifier on it, keeps the rate as it is.
    Discriminative fine-tuning and gradual unfreezing: Howard and Ruder 2018,
    https://arxiv.org/abs/1801.06146, sections 3.2 and 3.3.

    The names in the transformer are those of the `transformers` package, behind
    `transformer.`: `transformer.encoder.layer.3.output.dense.weight` in a BERT. A layer is
    known by the first number in the name.

    Args:
        n_layers: of the transformer; the optimizer raises if it has more or fewer. ALBERT, whose
            layers share their weights, has 1.
        unfreeze_every: after so many updates the next layer begins to learn, the top one
            first; with 0, all learn from the start.

    Raises:
        ValueError: a number is out of range.
    """
    mistakes = [
        f"{name} must be {expected}, got {value}"
        for name, value, expected, is_right in (
            ("n_layers", n_layers, ">= 1", n_layers >= 1),
            ("learn_rate_factor", learn_rate_factor, "> 0", learn_rate_factor > 0),
            ("decay", decay, "> 0 and <= 1", 0 < decay <= 1),
            ("unfreeze_every", unfreeze_every, ">= 0", unfreeze_every >= 0),
        )
        if not is_right
    ]
    if mistakes:
        raise ValueError(f"spacy-torch.LayerwiseRates.v1: {'; '.join(mistakes)}")
    patterns = [rf"\btransformer\.\D*\.{n_layers - 1 - depth}\." for depth in range(n_layers)]
    hint = (
        f"spacy-torch.LayerwiseRates.v1 was given n_layers = {n_layers}, which must be the "
        "transformer's num_hidden_layers"
    )
    groups: list[dict[str, Any]] = []
    for depth, pattern in enumerate([*patterns, r"\btransformer\."]):
        rate = learn_rate_factor * decay**depth
        group = {"pattern": pattern, "learn_rate_factor": rate, "hint": hint}
        if unfreeze_every:
            group["unfreeze_step"] = unfreeze_every * (depth + 1)
        groups.append(group)
    too_high = {"pattern": r"\btransformer\.\D*\.\d+\.", "refuse": True, "hint": hint}
    return [*groups[:-1], too_high, groups[-1]]
