"""Small trained pipelines, one of each kind of module, and what they annotate."""

from pathlib import Path
from typing import Any

from spacy.lang.en import English
from spacy.language import Language
from spacy.training import Example
from tiny_transformer import WIDTH

CNN: dict[str, Any] = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": 32,
    "depth": 3,
    "attrs": ["NORM", "SUFFIX"],
    "rows": [200, 100],
}
TEXTS = [
    "Ada Lovelace met Babbage",
    "London",
    "the river flows from Oxford to London Bridge",
    "nothing here",
]
PLACES: list[dict[str, Any]] = [
    {"entities": [(0, 12, "PERSON"), (17, 24, "PERSON")], "tags": ["N", "N", "V", "N"]},
    {"entities": [(0, 6, "PLACE")], "tags": ["N"]},
    {
        "entities": [(21, 27, "PLACE"), (31, 44, "PLACE")],
        "tags": ["D", "N", "V", "P", "N", "P", "N", "N"],
    },
    {"entities": [], "tags": ["N", "R"]},
]
TRUTH: list[dict[str, Any]] = [
    {
        **truth,
        "cats": {"long": float(len(truth["tags"]) > 2), "short": float(len(truth["tags"]) < 3)},
    }
    for truth in PLACES
]


def make_textcat() -> dict[str, Any]:
    model = {"@architectures": "spacy-torch.TextCat.v1", "encoder": CNN, "exclusive_classes": True}
    return {"classify": {"factory": "torch_textcat", "model": model}}


def make_ner() -> dict[str, Any]:
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": CNN}
    return {"find": {"factory": "torch_ner", "model": model}}


def make_stock() -> dict[str, Any]:
    """A shared encoder of ours, and a component of spaCy's that listens to it."""
    listener = {
        "@architectures": "spacy.Tok2VecListener.v1",
        "width": "${components.tok2vec.model.encoder:width}",
    }
    return {
        "tok2vec": {
            "factory": "tok2vec",
            "model": {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": CNN},
        },
        "tagger": {
            "factory": "tagger",
            "model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener},
        },
    }


def make_transformer_tagger(folder: Path) -> dict[str, Any]:
    encoder = {
        "@torch_encoders": "spacy-torch.HFTransformer.v1",
        "name": str(folder),
        "width": WIDTH,
    }
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    return {"tag": {"factory": "torch_tagger", "model": model}}


def train(components: dict[str, Any], *, steps: int = 40) -> Language:
    """A pipeline of these components that knows its examples by heart."""
    nlp = English.from_config(
        {"nlp": {"lang": "en", "pipeline": list(components)}, "components": components}
    )
    examples = [
        Example.from_dict(nlp.make_doc(text), truth)
        for text, truth in zip(TEXTS, TRUTH, strict=True)
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return nlp


def annotate(nlp: Language, texts: list[str] = TEXTS, **settings: Any) -> list[dict[str, Any]]:
    """Tags, entities and scores of each text."""
    return [
        {
            "tags": [token.tag_ for token in doc],
            "ents": [(ent.start, ent.end, ent.label_) for ent in doc.ents],
            **doc.cats,
        }
        for doc in nlp.pipe(texts, **settings)
    ]
