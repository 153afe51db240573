"""What a packaged pipeline requires beside spacy-torch itself."""

from __future__ import annotations

from spacy.language import Language
from spacy.util import get_minor_version_range, get_package_version, walk_dict

from spacy_torch.registry import find_extra

DISTRIBUTION = "spacy-torch"


def note_requirements(nlp: Language) -> None:
    """Write the extras that a pipeline cannot be loaded without into its meta.

    `spacy package` takes them from there. spaCy finds out by itself that a pipeline needs
    spacy-torch, but not that it needs an extra. All components count, also spaCy's own, and
    the tokenizer.
    """
    functions = {
        (path[-1][1:], value)
        for path, value in walk_dict({part: nlp.config[part] for part in ("nlp", "components")})
        if path[-1].startswith("@")
    }
    extras = sorted({find_extra(*function) for function in functions} - {None}, key=str)
    requirements: list[str] = nlp.meta.setdefault("requirements", [])
    for extra in extras:
        package = f"{DISTRIBUTION}[{extra}]"
        if not any(requirement.startswith(package) for requirement in requirements):
            version = get_package_version(DISTRIBUTION)
            requirements.append(package + (get_minor_version_range(version) if version else ""))
