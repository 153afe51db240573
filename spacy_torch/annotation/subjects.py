"""Which subject a simulation has: that of the component which learns."""

from __future__ import annotations

from spacy.language import Language

from spacy_torch.annotation.box_subject import BoxSubject
from spacy_torch.annotation.class_subject import ClassSubject
from spacy_torch.annotation.span_subject import SpanSubject
from spacy_torch.annotation.subject import Subject

# By name, and by what a component assigns.
SUBJECTS: dict[str, Subject] = {
    subject.name: subject for subject in (ClassSubject(), SpanSubject(), BoxSubject())
}
ASSIGNED = {
    "doc.cats": "classes",
    "doc.ents": "spans",
    "doc.spans": "spans",
    "doc._.boxes": "boxes",
}


def find_subject(nlp: Language, name: str | None = None) -> Subject:
    """The subject of a component, or of the first one that has a subject.

    Raises:
        ValueError: there is no such component, or none that can be simulated.
    """
    if name is not None and name not in nlp.pipe_names:
        raise ValueError(f"there is no component {name!r}: the pipeline has {nlp.pipe_names}")
    for other in nlp.pipe_names if name is None else [name]:
        for assigned in nlp.get_pipe_meta(other).assigns:
            if assigned in ASSIGNED:
                return SUBJECTS[ASSIGNED[assigned]]
    raise ValueError(
        f"no component of {[name] if name else nlp.pipe_names} can be simulated: name one that "
        f"assigns one of {list(ASSIGNED)}"
    )
