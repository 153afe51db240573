"""`torch_image_classifier` and `torch_image_classifier_multilabel`: what a picture shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model

from spacy_torch.components.class_weights import ClassWeights
from spacy_torch.components.losses import Loss
from spacy_torch.components.textcat import SCORE_WEIGHTS, TextCategorizer

DEFAULT_MODEL = """
[model]
@architectures = "spacy-torch.FastImageClassifier.v1"
exclusive_classes = {exclusive}

[model.encoder]
@torch_encoders = "spacy-torch.PatchDictionary.v1"

[model.slow]
@architectures = "spacy-torch.ImageClassifier.v1"
exclusive_classes = {exclusive}
shift = 0.1
zoom = 0.1

[model.slow.encoder]
@torch_encoders = "spacy-torch.ImageCNN.v1"
"""
EXCLUSIVE_MODEL = Config().from_str(DEFAULT_MODEL.format(exclusive="true"))["model"]
MULTILABEL_MODEL = Config().from_str(DEFAULT_MODEL.format(exclusive="false"))["model"]


@Language.factory(
    "torch_image_classifier",
    assigns=["doc.cats"],
    default_config={
        "model": EXCLUSIVE_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "class_weights": None,
        "threshold": 0.0,
        "scorer": {"@scorers": "spacy-torch.image_class_scorer.v1"},
    },
    default_score_weights={"cats_accuracy": 0.5, "cats_macro_f": 0.5, "cats_f_per_type": None},
)
def make_image_classifier(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    class_weights: ClassWeights | None,
    threshold: float,
    scorer: Callable[..., Any] | None,
) -> TextCategorizer:
    """One label per picture, as probabilities in `doc.cats`.

    A label belongs to a Doc, whatever the model reads of it: all but the model is the
    classifier of texts.
    """
    return TextCategorizer(
        nlp.vocab,
        model,
        name,
        exclusive=True,
        loss=loss,
        class_weights=class_weights,
        threshold=threshold,
        scorer=scorer,
    )


@Language.factory(
    "torch_image_classifier_multilabel",
    assigns=["doc.cats"],
    default_config={
        "model": MULTILABEL_MODEL,
        "loss": {"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"},
        "class_weights": None,
        "threshold": 0.5,
        "thresholds": {},
        "scorer": {"@scorers": "spacy-torch.textcat_multilabel_scorer.v1"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_image_classifier_multilabel(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    class_weights: ClassWeights | None,
    threshold: float,
    thresholds: dict[str, float],
    scorer: Callable[..., Any] | None,
) -> TextCategorizer:
    """Any number of labels per picture, each with its probability in `doc.cats`."""
    return TextCategorizer(
        nlp.vocab,
        model,
        name,
        exclusive=False,
        loss=loss,
        class_weights=class_weights,
        threshold=threshold,
        thresholds=thresholds,
        scorer=scorer,
    )
