"""`torch_image_classifier` and `torch_image_classifier_multilabel`: what a picture shows."""

from __future__ import annotations

from spacy.language import Language
from thinc.api import Config

from spacy_torch.components.textcat import (
    SCORE_WEIGHTS,
    make_textcat,
    make_textcat_multilabel,
)

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


# A label belongs to a Doc, whatever the model reads of it: all but the model, and what is scored,
# is the classifier of texts.
make_image_classifier = Language.factory(
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
    func=make_textcat,
)
make_image_classifier_multilabel = Language.factory(
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
    func=make_textcat_multilabel,
)
