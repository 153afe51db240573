"""A trained stock pipeline becomes one that annotates the same, with its encoders in torch."""

from typing import Any

import numpy
import pytest
import spacy
from spacy.cli.package import get_third_party_dependencies
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from thinc.api import Config, Model

import spacy_torch
from spacy_torch.accelerate import accelerate
from spacy_torch.bridge.model import find_shims

WIDTH = 16
HASH_EMBED_CNN: dict[str, Any] = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": WIDTH,
    "depth": 2,
    "embed_size": 60,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
MULTI_HASH_EMBED: dict[str, Any] = {
    "@architectures": "spacy.MultiHashEmbed.v2",
    "width": WIDTH,
    "attrs": ["NORM", "SHAPE", "SPACY"],
    "rows": [70, 30, 5],
    "include_static_vectors": False,
}
MAXOUT_WINDOW: dict[str, Any] = {
    "@architectures": "spacy.MaxoutWindowEncoder.v2",
    "width": WIDTH,
    "window_size": 1,
    "maxout_pieces": 3,
    "depth": 2,
}
TOK2VEC: dict[str, Any] = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": MULTI_HASH_EMBED,
    "encode": MAXOUT_WINDOW,
}
LISTENER = {
    "@architectures": "spacy.Tok2VecListener.v1",
    "width": "${components.tok2vec.model.encode:width}",
}
PARSER: dict[str, Any] = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": True,
}
MODELS: dict[str, dict[str, Any]] = {
    "tok2vec": TOK2VEC,
    "tagger": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER},
    "parser": {**PARSER, "state_type": "parser", "tok2vec": LISTENER},
    "ner": {**PARSER, "state_type": "ner", "tok2vec": HASH_EMBED_CNN},
    "textcat": {
        "@architectures": "spacy.TextCatEnsemble.v2",
        "linear_model": {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": True,
            "ngram_size": 1,
            "no_output_layer": False,
            "length": 100,
        },
        "tok2vec": HASH_EMBED_CNN,
    },
}
SETTINGS = {"parser": {"min_action_freq": 1}}
# Who reads what, and a label for the text.
GOLD: list[tuple[str, dict[str, Any]]] = [
    (
        "Ada sees Rome",
        {
            "tags": ["NNP", "VBZ", "NNP"],
            "heads": [1, 1, 1],
            "deps": ["nsubj", "ROOT", "dobj"],
            "entities": ["U-PERSON", "O", "U-GPE"],
            "cats": {"travel": 1.0, "work": 0.0},
        },
    ),
    (
        "the old mill of Rome works",
        {
            "tags": ["DT", "JJ", "NN", "IN", "NNP", "VBZ"],
            "heads": [2, 2, 5, 2, 3, 5],
            "deps": ["det", "amod", "nsubj", "prep", "pobj", "ROOT"],
            "entities": ["O", "O", "O", "O", "U-GPE", "O"],
            "cats": {"travel": 0.0, "work": 1.0},
        },
    ),
]
TEXTS = [*(text for text, _ in GOLD), "", " ", "Ada of Rome sees the old works , and more\n"]


def make_pipeline(models: dict[str, dict[str, Any]], *, with_vectors: bool = False) -> Language:
    """A stock pipeline that has learned `GOLD` by heart, its listeners' width a variable."""
    components = {
        name: {"factory": name, "model": model, **SETTINGS.get(name, {})}
        for name, model in models.items()
    }
    nlp = spacy.blank("en").from_config(
        Config({"nlp": {"lang": "en", "pipeline": list(models)}, "components": components})
    )
    if with_vectors:
        generator = numpy.random.default_rng(0)
        for word in ("Ada", "Rome", "old", "works"):
            nlp.vocab.set_vector(word, generator.normal(size=7).astype("float32"))
    examples = [Example.from_dict(nlp.make_doc(text), gold) for text, gold in GOLD]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    return nlp


def annotations(nlp: Language) -> list[dict[str, Any]]:
    docs = list(nlp.pipe(TEXTS))
    for doc in docs:
        doc.cats = {label: round(score, 4) for label, score in doc.cats.items()}
    return [doc.to_json() for doc in docs]


def architectures(config: Any) -> list[str]:
    """Every registered architecture named in a config."""
    if not isinstance(config, dict):
        return []
    own = [config["@architectures"]] if "@architectures" in config else []
    return own + [name for value in config.values() for name in architectures(value)]


@pytest.fixture(scope="module")
def trained() -> Language:
    return make_pipeline(MODELS)


def test_shared_and_own_encoders_are_replaced_and_annotate_the_same(trained):
    report = spacy_torch.accelerate(trained, TEXTS)
    assert [(part.component, part.path) for part in report.converted] == [
        ("tok2vec", "model"),
        ("ner", "model.tok2vec"),
        ("textcat", "model.tok2vec"),
    ]
    assert [part.component for part in report.parts if part.kept] == ["tagger", "parser"]
    assert report.differences == ()
    assert max(part.difference for part in report.converted) < 1e-5
    found = annotations(report.nlp)
    assert found == annotations(trained)
    first = report.nlp(TEXTS[0])
    assert [token.tag_ for token in first] == GOLD[0][1]["tags"]
    assert [token.dep_ for token in first] == GOLD[0][1]["deps"]
    assert [(ent.text, ent.label_) for ent in first.ents] == [("Ada", "PERSON"), ("Rome", "GPE")]


def test_original_stays_as_it_was(trained):
    before, config = trained.to_bytes(), trained.config.to_str()
    accelerate(trained, TEXTS).nlp("Ada sees Rome")
    assert trained.to_bytes() == before
    assert trained.config.to_str() == config


def test_saved_pipeline_needs_no_stock_encoder_and_annotates_the_same(trained, tmp_path):
    report = accelerate(trained, TEXTS)
    report.nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    stock = {"spacy.HashEmbedCNN.v2", "spacy.Tok2Vec.v2", "spacy.MultiHashEmbed.v2"}
    assert stock.isdisjoint(architectures(loaded.config["components"]))
    assert annotations(loaded) == annotations(trained)
    # The stock pipeline's variable named a setting that is no longer there.
    assert loaded.config["components"]["tagger"]["model"]["tok2vec"]["width"] == WIDTH
    (requirement,) = get_third_party_dependencies(loaded.config)
    assert requirement.startswith("spacy-torch")


def test_other_variables_of_the_config_stay(trained):
    report = accelerate(trained, TEXTS)
    assert report.nlp.config["corpora"]["train"]["path"] == "${paths.train}"


def test_accelerated_pipeline_learns_on(trained):
    nlp = accelerate(trained, TEXTS).nlp
    optimizer = nlp.resume_training()
    examples = [Example.from_dict(nlp.make_doc(text), gold) for text, gold in GOLD]
    before = [shim.module.embed.table.clone() for shim in shims(nlp)]
    nlp.update(examples, sgd=optimizer)
    assert len(before) == 3
    for old, shim in zip(before, shims(nlp), strict=True):
        assert not numpy.array_equal(old.detach(), shim.module.embed.table.detach())
    assert nlp.evaluate(examples)["tag_acc"] == 1.0


def shims(nlp: Language) -> list[Any]:
    return [shim for _, pipe in nlp.pipeline for shim in find_shims(pipe.model)]


def test_static_vectors_are_read_as_before(tmp_path):
    embed = {**MULTI_HASH_EMBED, "include_static_vectors": True}
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": {**TOK2VEC, "embed": embed}}
    nlp = make_pipeline({"tagger": tagger}, with_vectors=True)
    report = accelerate(nlp, TEXTS)
    (part,) = report.converted
    assert part.difference < 1e-5
    report.nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert annotations(loaded) == annotations(nlp)
    loaded.vocab.set_vector("Ada", numpy.full(7, 9.0, dtype="float32"))
    (before,) = nlp.get_pipe("tagger").model.predict([nlp.make_doc("Ada")])
    (after,) = loaded.get_pipe("tagger").model.predict([loaded.make_doc("Ada")])
    assert abs(before - after).max() > 1e-3


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("depth", [1, 3])
def test_older_and_other_shapes_are_replaced_too(version, depth):
    tok2vec = {
        "@architectures": f"spacy.Tok2Vec.{version}",
        "embed": {**MULTI_HASH_EMBED, "@architectures": f"spacy.MultiHashEmbed.{version}"},
        "encode": {
            **MAXOUT_WINDOW,
            "@architectures": f"spacy.MaxoutWindowEncoder.{version}",
            "depth": depth,
            "window_size": 2,
        },
    }
    hash_embed = {**HASH_EMBED_CNN, "@architectures": f"spacy.HashEmbedCNN.{version}"}
    models = {
        "tok2vec": {**hash_embed, "subword_features": False, "depth": depth},
        "tagger": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec},
    }
    nlp = make_pipeline(models)
    report = accelerate(nlp, TEXTS)
    assert [part.component for part in report.converted] == ["tok2vec", "tagger"]
    assert max(part.difference for part in report.converted) < 1e-5
    assert annotations(report.nlp) == annotations(nlp)


def test_disabled_component_is_replaced_and_stays_disabled():
    nlp = make_pipeline({"ner": MODELS["ner"]})
    nlp.disable_pipe("ner")
    report = accelerate(nlp, TEXTS)
    assert report.nlp.disabled == ["ner"]
    assert len(report.converted) == 1


@registry.architectures("test.Lookup.v1")
def build_lookup(width: int) -> Model[list[Doc], list[Any]]:
    """A tok2vec that nobody else knows: the number of letters, again and again."""

    def forward(model, docs, is_train):
        rows = [[[float(len(token))] * width for token in doc] for doc in docs]
        return [numpy.array(row, "f").reshape(-1, width) for row in rows], lambda d_rows: []

    return Model("lookup", forward, dims={"nO": width})


MISH = {
    "@architectures": "spacy.MishWindowEncoder.v2",
    "width": WIDTH,
    "window_size": 1,
    "depth": 1,
}
CHARACTERS = {
    "@architectures": "spacy.CharacterEmbed.v2",
    "width": WIDTH,
    "rows": 50,
    "nM": 4,
    "nC": 4,
    "include_static_vectors": False,
    "feature": "LOWER",
}


@pytest.mark.parametrize(
    ("tok2vec", "reason"),
    [
        ({"@architectures": "test.Lookup.v1", "width": WIDTH}, "no module yet for test.Lookup.v1"),
        ({**TOK2VEC, "encode": MISH}, "no module yet for spacy.MishWindowEncoder.v2"),
        ({**TOK2VEC, "embed": CHARACTERS}, "no module yet for spacy.CharacterEmbed.v2"),
        (
            {
                **HASH_EMBED_CNN,
                "@architectures": "spacy.HashEmbedCNN.v1",
                "pretrained_vectors": True,
            },
            "spacy.HashEmbedCNN.v1 gives words without a static vector the last one",
        ),
    ],
)
def test_what_has_no_counterpart_is_kept_and_named_with_the_reason(tok2vec, reason):
    models = {
        "tagger": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec},
        "ner": MODELS["ner"],
    }
    nlp = make_pipeline(models, with_vectors=True)
    report = accelerate(nlp, TEXTS)
    kept, replaced = report.parts
    assert (kept.component, kept.architecture) == ("tagger", tok2vec["@architectures"])
    assert reason in kept.kept
    assert replaced.kept is None
    assert annotations(report.nlp) == annotations(nlp)
    with pytest.raises(ValueError, match="tagger, model.tok2vec was kept as it is: "):
        report.speed(kept)


def test_pipeline_without_stock_encoders_comes_back_itself():
    nlp = make_pipeline({"ner": MODELS["ner"]})
    once = accelerate(nlp, TEXTS).nlp
    report = accelerate(once, TEXTS)
    assert report.nlp is once
    assert [part.kept for part in report.parts] == ["it is ours already"]
    assert accelerate(spacy.blank("en")).parts == ()


@pytest.mark.parametrize(
    ("node", "attribute", "value", "reason"),
    [
        ("hashembed", "seed", 100, "its tables have (column, seed) = [(0, 100), (1, 100), "),
        ("extract_features", "columns", ["LOWER"], "the model reads the attributes [['LOWER']]"),
        ("expand_window", "window_size", 2, "the model has the windows {2}, the config 1"),
    ],
)
def test_weights_that_are_not_what_the_config_says_are_kept(node, attribute, value, reason):
    nlp = make_pipeline({"ner": MODELS["ner"]})
    for found in nlp.get_pipe("ner").model.walk():
        if found.name == node:
            found.attrs[attribute] = value
    (part,) = accelerate(nlp, TEXTS).parts
    assert reason in part.kept


def test_weights_that_are_not_in_the_model_are_not_replaced():
    nlp = make_pipeline({"ner": MODELS["ner"]})
    nlp.get_pipe("ner").model.get_ref("tok2vec").layers[0].set_ref("embed", None)
    (part,) = accelerate(nlp, TEXTS).parts
    assert part.kept == "its weights were not found in the component's model"


def test_speed_is_words_per_second_before_and_after(trained):
    report = accelerate(trained, TEXTS)
    for speeds in (report.speed(turns=1), report.speed(report.converted[0], turns=1)):
        assert len(speeds) == 2
        assert all(speed > 0 for speed in speeds)
