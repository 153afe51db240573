"""`torch_object_detector`: what is where in a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import get_shim, run_tensors
from spacy_torch.components.answers import learn_pool
from spacy_torch.components.box_targets import PictureBoxes, read_truth
from spacy_torch.components.parts import check_model
from spacy_torch.components.pool import read_pool
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.skipped import Skip, ignore
from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.features.boxes import Box, clip_box, get_boxes, register_boxes, set_boxes
from spacy_torch.features.image_docs import get_picture, has_picture
from spacy_torch.features.picture_batches import picture_keys
from spacy_torch.features.pixels import Letterbox

# Enough for the features and the background.
N_POOL = 100

DEFAULT_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.ObjectDetector.v1"

[model.encoder]
@torch_encoders = "spacy-torch.PatchDictionary.v1"
size = 256
width = 48
patch = 6
step = 2
stride = 2

[model.slow]
@torch_encoders = "spacy-torch.ImageCNN.v1"
width = 64
depth = 3
""")["model"]


class Objects(NamedTuple):
    """What was found in one document's picture, the likeliest first.

    Attributes:
        places: x, y, width and height in pixels of the upright original; (box, 4).
        scores: probabilities.
        labels: columns of the component's labels.
    """

    places: NDArray[numpy.float64]
    scores: NDArray[numpy.float32]
    labels: NDArray[numpy.int64]


@Language.factory(
    "torch_object_detector",
    assigns=["doc._.boxes"],
    default_config={
        "model": DEFAULT_MODEL,
        "threshold": 0.1,
        "max_boxes": 100,
        "scorer": {"@scorers": "spacy-torch.boxes_scorer.v1"},
    },
    default_score_weights={
        "box_map50": 1.0,
        "box_map75": None,
        "box_map": None,
        "box_recall": None,
        "box_ap50_per_type": None,
        "box_ap_per_type": None,
    },
)
def make_object_detector(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    threshold: float,
    max_boxes: int,
    scorer: Callable[..., Any] | None,
) -> ObjectDetectorPipe:
    """Boxes around the objects of a picture, in `doc._.boxes`."""
    return ObjectDetectorPipe(
        nlp.vocab, model, name, threshold=threshold, max_boxes=max_boxes, scorer=scorer
    )


class ObjectDetectorPipe(TorchPipe):
    """Find the objects in the pictures of documents.

    `doc._.boxes` gets a `Box` for each object that is likely enough, in place of what was
    there. A reference whose boxes are complete trains its background, too; of one that is not
    (`set_boxes(..., complete=False)`) only the accepted and the rejected boxes train, so that
    boxes can be asked about one at a time. A reference without any boxes set trains nothing;
    one whose boxes were set to none shows a picture without objects.

    What is accepted or rejected is learned at once, exactly, and whatever the order; a picture
    answered anew replaces what was answered before, and `forget` takes it back. The network
    beside that learns from every update, and has a say as soon as it does well on pictures that
    it has not learned from: one in eight is kept from it.

    Args:
        threshold: the least probability of a box.
        max_boxes: the most boxes of a picture.

    Raises:
        TypeError, ValueError: the model is for something else, or a setting is out of its
            range.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        threshold: float = 0.1,
        max_boxes: int = 100,
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        check_model(name, model, logits_of="box", architecture="spacy-torch.ObjectDetector.v1")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"{name!r}: threshold must be from 0 to 1, got {threshold}")
        if max_boxes < 1:
            raise ValueError(f"{name!r}: max_boxes must be at least 1, got {max_boxes}")
        register_boxes()
        super().__init__(
            vocab, model, name, scorer=scorer, threshold=threshold, max_boxes=max_boxes
        )

    @override
    def predict(self, docs: Iterable[Doc]) -> list[Objects]:
        """The objects of each document's picture, whatever their probability."""
        docs = list(docs)
        shown = [doc for doc in docs if _has_something(doc)]
        if not shown or not self.labels:
            return [_nothing() for _ in docs]
        found, _ = run_tensors(self.logits_model, shown, is_train=False)
        lengths = found.lengths.tolist()
        parts = zip(
            shown,
            found.boxes.split(lengths),
            found.scores.split(lengths),
            found.labels.split(lengths),
            strict=True,
        )
        objects = iter([self._to_original(*part) for part in parts])
        return [next(objects) if _has_something(doc) else _nothing() for doc in docs]

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Objects]) -> None:
        for doc, found in zip(docs, scores, strict=True):
            likely = int((found.scores >= self.cfg["threshold"]).sum())
            n_boxes = min(likely, self.cfg["max_boxes"])
            set_boxes(doc, self._make_boxes(doc, found, n_boxes))

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each box; the candidates are the likeliest boxes, likely or not.

        A row has the probability of the box's own label, and 0 for the others: of two objects
        in one place there are two boxes.
        """
        docs = list_docs(docs, name=self.name)
        answers: list[Probabilities] = []
        for doc, found in zip(docs, self.predict(docs), strict=True):
            boxes = self._make_boxes(doc, found, self.cfg["max_boxes"])
            columns = {label: column for column, label in enumerate(self.labels)}
            values = numpy.zeros((len(boxes), len(self.labels)), dtype="float32")
            for row, box in enumerate(boxes):
                values[row, columns[box.label]] = box.score
            answers.append(Probabilities(boxes, self.labels, values))
        return answers

    @property
    def learns_by_gradient(self) -> bool:
        """Whether there is a network beside the closed form."""
        return bool(self.model.attrs["has_slow"])

    @override
    def learn_at_once(self, examples: Sequence[Example]) -> None:
        examples = [eg for eg in examples if _has_something(eg.predicted)]
        if not examples or not get_shim(self.logits_model).is_built:
            return
        shim = get_shim(self.logits_model)
        docs = [eg.predicted for eg in examples]
        batch = shim.take_batch(self.logits_model.attrs["featurize"](docs))
        module: Any = shim.module
        module.answer(
            batch, [boxes.to(shim.device) for boxes in self._read_truth(examples, self._skip)]
        )

    def forget(self, docs: Iterable[Doc]) -> None:
        """Take back what was answered about the pictures of documents.

        The network beside the closed form keeps what it has learned from them.
        """
        shim = get_shim(self.logits_model)
        module: Any = shim.module
        module.forget(picture_keys(list(docs)).to(shim.device))

    @override
    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        examples = [eg for eg in examples if _has_something(eg.predicted)]
        return super().update(examples, drop=drop, sgd=sgd, losses=losses)

    @override
    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Do nothing: what was answered is kept as it is."""
        losses = losses if losses is not None else {}
        losses.setdefault(self.name, 0.0)
        return losses

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        truth = self._read_truth(examples, ignore)  # counted when they were learned at once
        device = logits.heatmap.centres.device
        owners = [torch.full((len(one.boxes),), place) for place, one in enumerate(truth)]
        keys = picture_keys([eg.predicted for eg in examples])
        return logits.loss(
            torch.cat([one.boxes for one in truth]).to(device),
            labels=torch.cat([one.labels for one in truth]).to(device),
            owners=torch.cat(owners).to(device),
            verdicts=torch.cat([one.verdicts for one in truth]).to(device),
            is_complete=torch.tensor([one.is_complete for one in truth], device=device),
            is_used=(keys % self.model.attrs["held_out"] != 0).to(device),
        )

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        pool: Any = None,  # a Pool; spaCy resolves annotations among its own names
    ) -> None:
        """Take the labels from the examples, or as given, and learn from pictures without any.

        Args:
            pool: pictures without annotations, from which the features and the background are
                learned: a reader, as in [corpora], or an iterable of documents; by default the
                pictures of the examples. The first 100 are looked at.

        Raises:
            ValueError: there is no label, or no picture.
        """
        self._begin_initialize(get_examples, nlp)
        for label in labels if labels is not None else _find_labels(get_examples()):
            self.add_label(label)
        if not self.labels:
            raise ValueError(
                f"{self.name!r} needs at least one label, found none: call set_boxes on the "
                "references of the training examples, pass labels= to initialize(), or call "
                "add_label()"
            )
        sample = [_pick_doc(eg) for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample, Y=numpy.zeros((1, len(self.labels)), dtype="float32"))
        pictures = (
            map(_pick_doc, get_examples())
            if pool is None
            else read_pool(pool, get_examples, nlp=nlp, name=self.name)
        )
        learn_pool(self.logits_model, islice(pictures, N_POOL))
        self.note_labels()

    def _read_truth(self, examples: Sequence[Example], skip: Skip) -> list[PictureBoxes]:
        return read_truth(examples, self.labels, size=self.model.attrs["size"], skip=skip)

    def _to_original(self, doc: Doc, boxes: Tensor, scores: Tensor, labels: Tensor) -> Objects:
        place = Letterbox(*get_picture(doc).size, self.model.attrs["size"])
        corners = boxes.double().cpu().numpy()
        found = numpy.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return Objects(place.to_original(found), scores.cpu().numpy(), labels.cpu().numpy())

    def _make_boxes(self, doc: Doc, found: Objects, n_boxes: int) -> list[Box]:
        """The first boxes, as far as they are within the picture."""
        if not n_boxes or not len(found.scores):
            return []
        size = get_picture(doc).size
        boxes: list[Box] = []
        for place, score, label in zip(*(part[:n_boxes].tolist() for part in found), strict=True):
            if min(place[2:]) > 0:
                x, y, width, height = place
                box = Box(self.labels[label], x, y, width, height, min(score, 1.0))
                inside = clip_box(box, size)
                boxes += [inside] if inside is not None else []
        return boxes


def _nothing() -> Objects:
    return Objects(numpy.zeros((0, 4)), numpy.zeros(0, "float32"), numpy.zeros(0, "int64"))


def _has_something(doc: Doc) -> bool:
    """Whether there is a picture to ask for, or a reason why there is none."""
    return len(doc) > 0 or has_picture(doc)


def _pick_doc(example: Example) -> Doc:
    """The Doc of an example that has the picture."""
    return example.predicted if has_picture(example.predicted) else example.reference


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return sorted({box.label for eg in examples for box in get_boxes(eg.reference)})
