"""Who takes part in a simulation: the model of a config, and what it should beat."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import spacy
from thinc.api import Config

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.classifier_pipeline import build_pipeline
from spacy_torch.annotation.simulation import Contestant
from spacy_torch.annotation.strategies import Strategy, build_random
from spacy_torch.annotation.subjects import find_subject

Baseline = Literal["random", "slow", "tfidf", "bow", "ensemble"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

FOLLOWER = "TF-IDF + logistic regression"


def list_contestants(
    config: Mapping[str, Any],
    *,
    strategy: Strategy,
    strategy_name: str,
    baselines: Sequence[str] = BASELINES,
    component: str | None = None,
    settings: Settings | None = None,
) -> list[Contestant]:
    """The config's model with a strategy, and the same and others in random order.

    Args:
        baselines: "random", the same model; "slow", the slow part of a fast and slow model
            alone; "tfidf", TF-IDF and logistic regression on what "random" was told, and on
            what the strategy asked (whether those labels help others, too); "bow" and
            "ensemble", spaCy's own. What a config has no part for is left out, and so are
            those for classes where the component learns something else.

    Raises:
        ValueError: a baseline is unknown, or the pipeline has nothing that can be simulated.
    """
    unknown = sorted(set(baselines) - set(BASELINES))
    if unknown:
        raise ValueError(f"unknown baselines {unknown}: choose of {list(BASELINES)}")
    nlp = build_pipeline(config, seed=0)
    subject = find_subject(nlp, component)
    name = subject.find_component(nlp, component)
    if subject.name != "classes":
        baselines = [baseline for baseline in baselines if baseline == "random"]
    # Chance needs no scores: it looks at what it asks about only.
    settings = settings or Settings()
    by_chance = replace(settings, window=settings.batch)
    follows = "tfidf" in baselines

    def at_random(title: str, config: Mapping[str, Any], component: str) -> Contestant:
        return Contestant(title, config, build_random(), component, by_chance)

    found = [
        Contestant(
            f"the model, {strategy_name}",
            config,
            strategy,
            name,
            settings,
            f"{FOLLOWER}, {strategy_name}" if follows else None,
        )
    ]
    if "random" in baselines:
        model = at_random("the model, random order", config, name)
        found.append(replace(model, follower=f"{FOLLOWER}, random order" if follows else None))
    slow = nlp.config["components"][name]["model"].get("slow")
    if "slow" in baselines and slow is not None:
        alone = Config(copy.deepcopy(dict(nlp.config)))
        alone["components"][name]["model"] = slow
        found.append(at_random("its slow part alone, random order", alone, name))
    factory = nlp.get_pipe_meta(name).factory.removeprefix("torch_")
    for baseline, model in (("bow", _make_bow(factory)), ("ensemble", None)):
        if baseline in baselines:
            stock = spacy.blank(nlp.lang or "xx")
            stock.add_pipe(factory, config={} if model is None else {"model": model})
            title = {"bow": "spacy.TextCatBOW.v3", "ensemble": "spacy.TextCatEnsemble.v2"}[baseline]
            found.append(at_random(f"{title}, random order", stock.config, factory))
    return found


def _make_bow(factory: str) -> dict[str, Any]:
    return {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": factory == "textcat",
        "length": 262144,
        "ngram_size": 1,
        "no_output_layer": False,
    }
