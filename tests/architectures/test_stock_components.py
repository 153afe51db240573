"""spaCy's own components with one block changed: a torch encoder as their tok2vec."""

from typing import Any

import pytest
import spacy
from spacy.kb import InMemoryLookupKB
from spacy.language import Language
from spacy.training import Example
from spacy.vocab import Vocab
from tiny_encoder import ENCODER

# The score that is 1 when a component knows its examples by heart.
SCORES = {
    "tagger": "tag_acc",
    "morphologizer": "morph_acc",
    "trainable_lemmatizer": "lemma_acc",
    "senter": "sents_f",
    "parser": "dep_las",
    "ner": "ents_f",
    "spancat": "spans_sc_f",
    "span_finder": "spans_sc_r",
    "entity_linker": "nel_micro_f",
    "textcat": "cats_macro_f",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "parser": {"min_action_freq": 1},
    "trainable_lemmatizer": {"min_tree_freq": 1},
    "span_finder": {"max_length": 2},
}
TOK2VEC = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": ENCODER["width"]}
TRUTH: list[tuple[str, dict[str, Any]]] = [
    (
        "She saw Paris . It rained",
        {
            "words": ["She", "saw", "Paris", ".", "It", "rained"],
            "tags": ["PRP", "VBD", "NNP", ".", "PRP", "VBD"],
            "pos": ["PRON", "VERB", "PROPN", "PUNCT", "PRON", "VERB"],
            "morphs": ["Number=Sing", "Tense=Past", "Number=Sing", "", "", "Tense=Past"],
            "lemmas": ["she", "see", "Paris", ".", "it", "rain"],
            "heads": [1, 1, 1, 1, 5, 5],
            "deps": ["nsubj", "ROOT", "obj", "punct", "nsubj", "ROOT"],
            "entities": [(8, 13, "NAME")],
            "spans": {"sc": [(8, 13, "NAME")]},
            "links": {(8, 13): {"Q-city": 1.0, "Q-person": 0.0}},
            "cats": {"travel": 1.0, "people": 0.0},
        },
    ),
    (
        "Paris told her . We laughed",
        {
            "words": ["Paris", "told", "her", ".", "We", "laughed"],
            "tags": ["NNP", "VBD", "PRP", ".", "PRP", "VBD"],
            "pos": ["PROPN", "VERB", "PRON", "PUNCT", "PRON", "VERB"],
            "morphs": ["Number=Sing", "Tense=Past", "Case=Acc", "", "Number=Plur", "Tense=Past"],
            "lemmas": ["Paris", "tell", "she", ".", "we", "laugh"],
            "heads": [1, 1, 1, 1, 5, 5],
            "deps": ["nsubj", "ROOT", "obj", "punct", "nsubj", "ROOT"],
            "entities": [(0, 5, "NAME")],
            "spans": {"sc": [(0, 5, "NAME")]},
            "links": {(0, 5): {"Q-city": 0.0, "Q-person": 1.0}},
            "cats": {"travel": 0.0, "people": 1.0},
        },
    ),
]


def make_kb(vocab: Vocab) -> InMemoryLookupKB:
    """A name that two things have, as often the one as the other."""
    kb = InMemoryLookupKB(vocab, entity_vector_length=2)
    names = ["Q-city", "Q-person"]
    kb.set_entities(entity_list=names, freq_list=[1, 1], vector_list=[[1.0, 0.0], [0.0, 1.0]])
    kb.add_alias("Paris", entities=names, probabilities=[0.5, 0.5])
    return kb


def make_nlp(factory: str, *, is_shared: bool) -> Language:
    """A pipeline of one stock component with its default model, but for the tok2vec."""
    nlp = spacy.blank("en")
    if factory == "entity_linker":
        nlp.add_pipe("sentencizer")
        nlp.add_pipe("entity_ruler")
        patterns = [{"label": "NAME", "pattern": "Paris"}]
        nlp.config["initialize"]["components"]["entity_ruler"] = {"patterns": patterns}
    if is_shared:
        nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    model = dict(nlp.get_factory_meta(factory).default_config["model"])
    model["tok2vec"] = LISTENER if is_shared else TOK2VEC
    component = nlp.add_pipe(factory, config={"model": model, **SETTINGS.get(factory, {})})
    if factory == "entity_linker":
        component.set_kb(make_kb)
    return nlp


def make_examples(nlp: Language) -> list[Example]:
    spaces = [True] * 5 + [False]
    return [
        Example.from_dict(nlp.make_doc(text), {**truth, "spaces": spaces}) for text, truth in TRUTH
    ]


def annotations(nlp: Language, texts: list[str]) -> list[tuple[dict[str, Any], list[str]]]:
    return [(doc.to_json(), [ent.kb_id_ for ent in doc.ents]) for doc in nlp.pipe(texts)]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "direct"])
@pytest.mark.parametrize("factory", SCORES)
def test_stock_component_learns_on_a_torch_encoder_and_comes_back(factory, is_shared, tmp_path):
    nlp = make_nlp(factory, is_shared=is_shared)
    optimizer = nlp.initialize(lambda: make_examples(nlp))
    optimizer.learn_rate = 0.01
    losses = [nlp.update(make_examples(nlp), sgd=optimizer)[factory] for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    assert nlp.evaluate(make_examples(nlp))[SCORES[factory]] == 1.0
    nlp.to_disk(tmp_path)
    texts = ["", *[text for text, _ in TRUTH], "She told Paris . It laughed"]
    assert annotations(spacy.load(tmp_path), texts) == annotations(nlp, texts)
