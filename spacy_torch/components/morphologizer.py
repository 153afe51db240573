"""`torch_morphologizer`: part of speech and morphological features of each token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import numpy
from numpy.typing import NDArray
from spacy.attrs import MORPH, POS
from spacy.language import Language
from spacy.morphology import Morphology
from spacy.parts_of_speech import IDS as POS_IDS
from spacy.pipeline.morphologizer import morphologizer_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.components.gold_tokens import Columns, Ids, find_columns
from spacy_torch.components.losses import Loss
from spacy_torch.components.probabilities import Probabilities
from spacy_torch.components.skipped import Skip, ignore
from spacy_torch.components.token_scores import (
    DEFAULT_TOKEN_MODEL,
    best_columns,
    check_token_parts,
    initialize_token_model,
    keep_known,
    token_loss,
    token_probabilities,
)
from spacy_torch.components.torch_pipe import TorchPipe


@Language.factory(
    "torch_morphologizer",
    assigns=["token.morph", "token.pos"],
    default_config={
        "model": DEFAULT_TOKEN_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "overwrite": True,
        "extend": False,
        "scorer": {"@scorers": "spacy.morphologizer_scorer.v1"},
    },
    default_score_weights={"pos_acc": 0.5, "morph_acc": 0.5, "morph_per_feat": None},
)
def make_morphologizer(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    overwrite: bool,
    extend: bool,
    scorer: Callable[..., Any] | None,
) -> Morphologizer:
    """Part of speech and features of each token, in `token.pos_` and `token.morph`."""
    return Morphologizer(
        nlp.vocab, model, name, loss=loss, overwrite=overwrite, extend=extend, scorer=scorer
    )


class Morphologizer(TorchPipe):
    """Give each token one label for its features and its part of speech together.

    A label is a string such as "Number=Sing|POS=NOUN", as in spaCy's own morphologizer. A
    token without gold, or with a combination that is no label, trains nothing; the latter are
    counted in `skipped`.

    Args:
        loss: of exclusive labels.
        overwrite: replace what tokens have already.
        extend: add to the features that tokens have; those of the same name are replaced
            with `overwrite`, and kept without it.

    Raises:
        TypeError, ValueError: model or loss are for something else.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        loss: Loss,
        overwrite: bool = True,
        extend: bool = False,
        scorer: Callable[..., dict[str, Any]] | None = morphologizer_score,
    ) -> None:
        check_token_parts(name, model=model, loss=loss)
        super().__init__(
            vocab,
            model,
            name,
            scorer=scorer,
            labels_morph={},
            labels_pos={},
            overwrite=overwrite,
            extend=extend,
        )
        self.loss = loss

    @property
    @override
    def label_data(self) -> dict[str, dict[str, Any]]:
        return {"morph": dict(self.cfg["labels_morph"]), "pos": dict(self.cfg["labels_pos"])}

    def add_label(self, label: str) -> int:
        """Add a label such as "Number=Sing|POS=NOUN", also after training.

        Features are put in order first. Either part may be missing: "POS=PUNCT" has no
        features, "Case=Nom" no part of speech, "_" neither.

        Returns:
            1 if the label was added, 0 if it was there.

        Raises:
            ValueError: it is no such string, or spaCy has no such part of speech.
        """
        if not isinstance(label, str) or not label:
            return super().add_label(label)  # which raises
        try:
            normal = self.vocab.morphology.normalize_features(label)
            features = Morphology.feats_to_dict(normal)
        except ValueError as error:
            raise ValueError(
                f"{self.name!r}: a label must be features such as 'Number=Sing|POS=NOUN', "
                f"got {label!r}"
            ) from error
        pos = features.pop("POS", "")
        if pos not in POS_IDS:
            raise ValueError(
                f"{self.name!r}: the part of speech in the label {label!r} must be one of "
                f"{sorted(filter(None, POS_IDS))}, got {pos!r}"
            )
        return self._add(normal, morph=Morphology.dict_to_feats(features), pos=int(POS_IDS[pos]))

    @override
    def predict(self, docs: Iterable[Doc]) -> Any:
        return best_columns(self, docs)

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        overwrite, extend = self.cfg["overwrite"], self.cfg["extend"]
        morph_ids, pos_ids = self._label_ids()
        for doc, columns in zip(docs, scores, strict=True):
            before = cast(Ids, doc.to_array([MORPH, POS]).reshape(-1, 2))
            morph, pos = morph_ids[columns], pos_ids[columns]
            if extend:
                morph = self._merge(before[:, 0], morph, overwrite=overwrite)
            elif not overwrite:
                morph = keep_known(before[:, 0], morph)
            if not overwrite:
                pos = keep_known(before[:, 1], pos)
            doc.from_array([MORPH, POS], cast("Any", numpy.stack([morph, pos], axis=1)))

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each label; the candidates are the tokens."""
        return token_probabilities(self, docs)

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        return token_loss(self.loss, logits, self.find_gold(examples, self._skip))

    def find_gold(self, examples: Sequence[Example], skip: Skip = ignore) -> Columns:
        """The column of each token's label, below 0 where it is not known."""
        nothing = self.vocab.morphology.add("")
        columns: dict[tuple[int, ...], int] = {}
        for column, (morph, pos) in enumerate(numpy.stack(self._label_ids(), axis=1).tolist()):
            columns[pos, morph] = column
            if morph == nothing and pos:
                # Features never set count as none beside a part of speech.
                columns[pos, 0] = column
        return find_columns(examples, [POS, MORPH], columns, skip)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        # spaCy looks this annotation up by name in its own module, which has no Mapping.
        labels: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """Take the labels from the examples, or as given, and build the module.

        Args:
            labels: what `label_data` gives and `spacy init labels` writes: for each label
                its features in "morph" and the number of its part of speech in "pos".

        Raises:
            ValueError: there is no label, or `labels` has another form.
        """
        self._begin_initialize(get_examples, nlp)
        if labels is None:
            for label in _find_labels(get_examples()):
                self.add_label(label)
        else:
            self._take_labels(labels)
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        step = "annotate token.pos or token.morph in the training examples"
        initialize_token_model(self, sample, step=step)

    def _take_labels(self, labels: Mapping[str, Mapping[str, Any]]) -> None:
        has_form = isinstance(labels, Mapping) and {*labels} == {"morph", "pos"}
        if not has_form or [*labels["morph"]] != [*labels["pos"]]:
            raise ValueError(
                f"{self.name!r}: labels must have the parts 'morph' and 'pos', each with the same "
                "labels as its keys, as label_data gives them and `spacy init labels` writes "
                f"them, got {labels!r}"
            )
        for label, morph in labels["morph"].items():
            self._add(label, morph=morph, pos=labels["pos"][label])

    def _add(self, label: str, *, morph: str, pos: int) -> int:
        added = super().add_label(label)
        if added:
            self.cfg["labels_morph"][label] = morph
            self.cfg["labels_pos"][label] = pos
        return added

    def _label_ids(self) -> tuple[Ids, Ids]:
        """The ids of each label's features and part of speech."""
        morphs, poses = self.cfg["labels_morph"], self.cfg["labels_pos"]
        add = self.vocab.morphology.add
        return (
            numpy.array([add(morphs[label]) for label in self.labels], dtype=numpy.uint64),
            numpy.array([poses[label] for label in self.labels], dtype=numpy.uint64),
        )

    def _merge(self, before: Ids, morph: Ids, *, overwrite: bool) -> Ids:
        """The ids of the features before and the new ones together."""
        pairs = numpy.stack([before, morph], axis=1)
        distinct, inverse = numpy.unique(pairs, axis=0, return_inverse=True)
        strings, table = self.vocab.strings, self.vocab.morphology
        merged: list[int] = []
        for pair in distinct.tolist():
            old, new = (Morphology.feats_to_dict(strings[each]) for each in pair)
            merged.append(table.add({**old, **new} if overwrite else {**new, **old}))
        ids: NDArray[numpy.uint64] = numpy.array(merged, dtype=numpy.uint64)
        return ids[inverse.reshape(-1)]


def _find_labels(examples: Iterable[Example]) -> list[str]:
    """The combinations of features and part of speech that occur, in alphabetical order."""
    labels: set[str] = set()
    seen: set[tuple[int, int]] = {(0, 0)}
    for example in examples:
        doc = example.reference
        pairs = numpy.unique(doc.to_array([MORPH, POS]).reshape(-1, 2), axis=0).tolist()
        for morph, pos in {(morph, pos) for morph, pos in pairs} - seen:
            seen.add((morph, pos))
            features = Morphology.feats_to_dict(doc.vocab.strings[morph])
            if pos:
                features["POS"] = doc.vocab.strings[pos]
            labels.add(doc.vocab.morphology.normalize_features(features))
    return sorted(labels)
