"""A model for another task is refused by name, also by stock components, which do not look."""

import pytest
import spacy
from spacy.training import Example
from tiny_encoder import ENCODER

TEXT = {"encoder": ENCODER, "exclusive_classes": True}
MODELS = {
    "TextCat.v1": TEXT,
    "TextCatEnsemble.v1": TEXT,
    "TextCatBOW.v1": {"exclusive_classes": True},
    "TokenClassifier.v1": {"encoder": ENCODER},
    "SpanClassifier.v1": {"encoder": ENCODER},
    "CRFTagger.v1": {"encoder": ENCODER},
    "BiaffineParser.v1": {"encoder": ENCODER},
    "RelationClassifier.v1": {
        "encoder": ENCODER,
        "candidates": {"@misc": "spacy-torch.EntityPairs.v1"},
    },
}
# The stock components, what their own models of ours begin with, and what the error says.
STOCK = {
    "textcat": ("TextCat", "with an array with a row per document: use spacy-torch.TextCatEns"),
    "tagger": ("Token", "with an array for each document: use spacy-torch.TokenClassifier.v1"),
    "senter": ("Token", "with an array for each document: use spacy-torch.TokenClassifier.v1"),
    "spancat": ("Span", "with documents with spans, and an array: use spacy-torch.SpanClassifier"),
    "span_finder": (
        None,
        r"an array with more rows than documents: use spacy\.SpanFinder\.v1",
    ),
    "ner": (None, "got none.* ner, which give none, take spacy-torch.Tok2Vec.v1 as the tok2vec"),
    "parser": (None, "got none.* ner, which give none, take spacy-torch.Tok2Vec.v1 as the tok2"),
    "tok2vec": (None, "got none.* ner, which give none, take spacy-torch.Tok2Vec.v1 as the tok2"),
}
WRONG = [
    (component, model, message)
    for component, (right, message) in STOCK.items()
    for model in MODELS
    if right is None or not model.startswith(right)
]


def initialize(component: str, model: str, settings: dict[str, object]) -> None:
    nlp = spacy.blank("en")
    block = {"@architectures": f"spacy-torch.{model}", **settings}
    nlp.add_pipe(component, config={"model": block})
    truth = {
        "tags": ["A", "B", "A"],
        "sent_starts": [1, 0, 0],
        "cats": {"X": 1.0, "Y": 0.0},
        "spans": {"sc": [(0, 3, "P")]},
        "entities": [(0, 3, "P")],
        "heads": [1, 1, 1],
        "deps": ["a", "ROOT", "b"],
    }
    example = Example.from_dict(nlp.make_doc("she sees him"), truth)
    nlp.initialize(lambda: [example])


@pytest.mark.parametrize(("component", "model", "message"), WRONG)
def test_model_for_another_task_is_refused(component, model, message):
    with pytest.raises(ValueError, match=rf"spacy-torch\.{model} .*{message}"):
        initialize(component, model, MODELS[model])


@pytest.mark.parametrize("component", ["textcat", "tagger", "spancat", "ner", "parser"])
def test_vectors_are_no_scores_of_labels(component):
    with pytest.raises(ValueError, match=r"Tok2Vec\.v1 gives vectors and no scores of labels"):
        initialize(component, "Tok2Vec.v1", {"encoder": ENCODER})
