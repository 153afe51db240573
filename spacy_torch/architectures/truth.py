"""What a component initializes a model with, held against what the model scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Form(NamedTuple):
    """What components of one kind initialize their models with.

    Attributes:
        truth: the truth that they give.
        model: one that would do for them.
    """

    truth: str
    model: str


TEXTS = Form("an array with a row per document", "spacy-torch.TextCatEnsemble.v1")
TOKENS = Form("an array for each document", "spacy-torch.TokenClassifier.v1")
SPANS = Form("documents with spans, and an array", "spacy-torch.SpanClassifier.v1")
# spaCy's span_finder.
ALL_TOKENS = Form(
    "an array with more rows than documents",
    "spacy.SpanFinder.v1 with spacy-torch.Tok2Vec.v1 as its tok2vec",
)
COUNT = Form("the number of labels", "spacy-torch.CRFTagger.v1, BiaffineParser.v1 or so")


class Scored(NamedTuple):
    """What a model that scores one kind of thing is for.

    Attributes:
        form: what it must be initialized with.
        sample: the same, for who has to write it.
        components: those that do so.
    """

    form: Form
    sample: str
    components: str


SCORED: Mapping[str, Scored] = {
    "text": Scored(
        TEXTS,
        "a sample of the truth, an array of shape (text, label)",
        "textcat, textcat_multilabel, torch_textcat and torch_textcat_multilabel",
    ),
    "token": Scored(
        TOKENS,
        "a sample of the truth, an array of shape (token, label) per document",
        "tagger, morphologizer, senter, trainable_lemmatizer, torch_tagger, torch_morphologizer "
        "and torch_senter",
    ),
    "span": Scored(
        SPANS,
        "a sample of the truth, X=(docs, spans) and an array of shape (span, label)",
        "spancat, spancat_singlelabel and torch_spancat",
    ),
    **{
        thing: Scored(COUNT, "their number, as in model.initialize(X=docs, Y=40)", component)
        for thing, component in {
            "tag": "torch_ner",
            "arc": "torch_parser",
            "pair": "torch_relations",
        }.items()
    },
}


def check_truth(X: Any, Y: Any, *, name: str, logits_of: str) -> None:
    """Raise a `ValueError` if a model is initialized by a component of another kind.

    spaCy's components look at no model that they are given. What they initialize it with is
    the first that tells them apart.

    Args:
        X, Y: what the model was initialized with.
        name: the model's.
        logits_of: what it scores.
    """
    scored = SCORED.get(logits_of)
    if scored is None:
        return
    if Y is None:
        raise ValueError(
            f"{name} is sized by its labels: initialize it with {scored.sample}, got none. It is "
            f"for {scored.components}; spaCy's tok2vec, parser and ner, which give none, take "
            "spacy-torch.Tok2Vec.v1 as the tok2vec of their model"
        )
    form = _find_form(X, Y)
    if form is not scored.form:
        raise ValueError(
            f"{name} scores each {logits_of}: it is for {scored.components}, but this component "
            f"initialized it with {form.truth}: use {form.model} in its [model] block"
        )


def _find_form(X: Any, Y: Any) -> Form:
    if isinstance(Y, int):
        return COUNT
    if isinstance(Y, (list, tuple)):
        return TOKENS
    if isinstance(X, tuple):
        return SPANS
    return ALL_TOKENS if X and len(Y) > len(X) else TEXTS
