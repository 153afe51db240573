"""Which kind of question suits a component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from spacy.language import Language

from spacy_torch.annotation.box_questions import BoxQuestions, ManualBoxQuestions
from spacy_torch.annotation.questions import (
    ChoiceQuestions,
    Questions,
    SuggestedChoiceQuestions,
    YesNoQuestions,
)
from spacy_torch.annotation.span_questions import ManualSpanQuestions, SpanQuestions

Kind = Literal["binary", "choice", "manual"]

# By what a component assigns; the first kind is the usual one.
KINDS: dict[str, dict[Kind, type[Questions]]] = {
    "doc.cats": {
        "binary": YesNoQuestions,
        "choice": ChoiceQuestions,
        "manual": SuggestedChoiceQuestions,
    },
    "doc.ents": {"binary": SpanQuestions, "manual": ManualSpanQuestions},
    "doc.spans": {"binary": SpanQuestions, "manual": ManualSpanQuestions},
    "doc._.boxes": {"binary": BoxQuestions, "manual": ManualBoxQuestions},
}


def find_questions(
    nlp: Language,
    name: str | None = None,
    kind: Kind | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Questions:
    """Questions about the annotations of a component.

    Args:
        name: of the component; None for the first one that can be asked about.
        kind: "binary" for yes-or-no questions about one label, span or box, "choice" among
            all labels, "manual" to correct what the component finds: the labels, or all spans
            or boxes. None for "choice" where exactly one label applies, "binary" otherwise.
        labels: ask about these only, in questions that are not among all labels.

    Raises:
        ValueError: there is no such component, or the kind is for others.
        TypeError: the component does not say how sure it is.
    """
    name = name or _find_component(nlp)
    if name not in nlp.pipe_names:
        raise ValueError(f"there is no component {name!r}: the pipeline has {nlp.pipe_names}")
    kinds = _find_kinds(nlp, name)
    if kinds is None:
        raise ValueError(
            f"{name!r} annotates {nlp.get_pipe_meta(name).assigns}, about which there are no "
            f"questions, only about {', '.join(KINDS)}: name another component"
        )
    component = nlp.get_pipe(name)
    if not hasattr(component, "probabilities"):
        raise TypeError(
            f"{name!r} is a {nlp.get_pipe_meta(name).factory!r}, which cannot say how sure it is: "
            "use a component of spacy-torch, such as torch_textcat, torch_ner or torch_spancat"
        )
    if kind is None:
        kind = "choice" if getattr(component, "exclusive", False) else "binary"
        kind = kind if kind in kinds else "binary"
    if kind not in kinds:
        raise ValueError(f"the questions about {name!r} must be one of {list(kinds)}, got {kind!r}")
    questions = kinds[kind]
    if issubclass(questions, ChoiceQuestions):
        return questions(nlp, name)
    return questions(nlp, name, labels=labels)  # pyright: ignore[reportCallIssue]


def _find_component(nlp: Language) -> str:
    found = [name for name in nlp.pipe_names if _find_kinds(nlp, name) is not None]
    if not found:
        raise ValueError(
            f"no component of {nlp.pipe_names} can be asked about: add one, such as "
            "torch_textcat, torch_ner, torch_spancat or torch_object_detector"
        )
    return found[0]


def _find_kinds(nlp: Language, name: str) -> dict[Kind, type[Questions]] | None:
    assigns = nlp.get_pipe_meta(name).assigns
    return next((kinds for assigned, kinds in KINDS.items() if assigned in assigns), None)
