"""Who takes part in a simulation: the model of a config, and what it should beat."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import spacy
from spacy.language import Language
from thinc.api import Config

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.classifier_pipeline import OF_PICTURES, build_pipeline
from spacy_torch.annotation.simulation import Contestant
from spacy_torch.annotation.strategies import Strategy, build_random
from spacy_torch.annotation.subjects import find_subject
from spacy_torch.annotation.transfer import Pupil

Baseline = Literal["random", "slow", "tfidf", "bow", "ensemble"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

# Those that learn, at the end of each session, what was asked for another model.
PUPILS: tuple[str, ...] = ("slow", "bow", "ensemble")

FOLLOWER = "TF-IDF + logistic regression"


def list_contestants(
    config: Mapping[str, Any],
    *,
    strategy: Strategy,
    strategy_name: str,
    baselines: Sequence[str] = BASELINES,
    pupils: Sequence[str] = (),
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
        pupils: of the other models those that are taught, at the end of each session of the
            strategy and of random order, what was answered in it.

    Raises:
        ValueError: a baseline or pupil is unknown, or nothing in the pipeline can be simulated.
    """
    for given, known in ((baselines, BASELINES), (pupils, PUPILS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            what = "baselines" if known is BASELINES else "pupils"
            raise ValueError(f"unknown {what} {unknown}: choose of {list(known)}")
    nlp = build_pipeline(config, seed=0)
    subject = find_subject(nlp, component)
    name = subject.find_component(nlp, component)
    if subject.name != "classes":
        baselines = [baseline for baseline in baselines if baseline == "random"]
        pupils = []
    # Chance needs no scores: it looks at what it asks about only.
    settings = settings or Settings()
    by_chance = replace(settings, window=settings.batch)
    follows = "tfidf" in baselines and nlp.get_pipe_meta(name).factory not in OF_PICTURES

    def at_random(title: str, config: Mapping[str, Any], component: str) -> Contestant:
        return Contestant(title, config, build_random(), component, by_chance)

    others = _list_others(nlp, name)
    taught = [
        Pupil(title, other, component_of_other)
        for short, (title, other, component_of_other) in others.items()
        if short in pupils
    ]
    found = [
        Contestant(
            f"the model, {strategy_name}",
            config,
            strategy,
            name,
            settings,
            f"{FOLLOWER}, {strategy_name}" if follows else None,
            taught,
        )
    ]
    if "random" in baselines:
        model = at_random("the model, random order", config, name)
        follower = f"{FOLLOWER}, random order" if follows else None
        found.append(replace(model, follower=follower, pupils=taught))
    found += [
        at_random(f"{title}, random order", other, component_of_other)
        for short, (title, other, component_of_other) in others.items()
        if short in baselines
    ]
    return found


def _list_others(nlp: Language, name: str) -> dict[str, tuple[str, Mapping[str, Any], str]]:
    """Other classifiers that could learn the same: name, config and component."""
    found: dict[str, tuple[str, Mapping[str, Any], str]] = {}
    slow = nlp.config["components"][name].get("model", {}).get("slow")
    if slow is not None:
        alone = Config(copy.deepcopy(dict(nlp.config)))
        alone["components"][name]["model"] = slow
        found["slow"] = "its slow part alone", alone, name
    factory = nlp.get_pipe_meta(name).factory.removeprefix("torch_")
    if factory in ("textcat", "textcat_multilabel"):
        for short, title, config in (
            ("bow", "spacy.TextCatBOW.v3", {"model": _make_bow(factory)}),
            ("ensemble", "spacy.TextCatEnsemble.v2", {}),
        ):
            stock = spacy.blank(nlp.lang or "xx")
            stock.add_pipe(factory, config=config)
            found[short] = title, stock.config, factory
    return found


def _make_bow(factory: str) -> dict[str, Any]:
    return {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": factory == "textcat",
        "length": 262144,
        "ngram_size": 1,
        "no_output_layer": False,
    }
