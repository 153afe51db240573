"""What became of a pipeline that was exported."""

from __future__ import annotations

from dataclasses import dataclass, field

from spacy.language import Language
from spacy.tokens import Doc

from spacy_torch.comparison import Difference, make_docs, words_per_second

# Of a module's outputs, as a share of the largest: what another order of the same sums may do.
LARGEST_DIFFERENCE = 1e-3
# How many annotations per token may differ.
LARGEST_SHARE = {"int8": 0.01}


@dataclass(frozen=True)
class Part:
    """One torch module of a pipeline.

    Attributes:
        component: the component that holds it.
        module: the name of its architecture.
        kept: why it was left as it is; None if it was exported.
        what: what was done with it.
        difference: the largest difference between an output of the original and of the
            exported one on the sample.
        largest: the largest output of the original there.
        n_bytes: the size of its tensors before and after.
    """

    component: str
    module: str
    kept: str | None = None
    what: str = ""
    difference: float = 0.0
    largest: float = 0.0
    n_bytes: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Report:
    """What `export_pipeline` made of a pipeline.

    Attributes:
        nlp: the exported pipeline, which shares its vocabulary with the original; the original
            itself if nothing could be exported.
        original: the original, unchanged.
        format: what it was exported to.
        parts: every torch module that was found.
        texts: the sample on which both were compared.
        n_tokens: the number of tokens there.
        differences: what is annotated differently there.
    """

    nlp: Language
    original: Language
    format: str
    parts: tuple[Part, ...]
    texts: tuple[str | Doc, ...] = field(repr=False)
    n_tokens: int
    differences: tuple[Difference, ...]

    @property
    def exported(self) -> list[Part]:
        """The modules that were exported."""
        return [part for part in self.parts if part.kept is None]

    @property
    def share(self) -> float:
        """How many annotations differ for each token of the sample."""
        return len(self.differences) / max(1, self.n_tokens)

    @property
    def objection(self) -> str | None:
        """Why the exported pipeline should not take the place of the original; None if it may.

        Numbers rounded to 8 bits may change one annotation in a hundred tokens. In another
        format the outputs of each module are the same up to a thousandth of the largest, and
        every annotation is.
        """
        limit = LARGEST_SHARE.get(self.format, 0.0)
        if self.share > limit:
            allowed = f"at most {limit:.0%} may be" if limit else "none may be"
            return (
                f"{len(self.differences)} annotations of {self.n_tokens} tokens "
                f"({self.share:.1%}) are different, {allowed}"
            )
        for part in self.exported if self.format not in LARGEST_SHARE else []:
            if not part.difference <= LARGEST_DIFFERENCE * max(1.0, part.largest):
                return (
                    f"{part.component}: an output of {part.module} differs by "
                    f"{part.difference:.1e}, at most {LARGEST_DIFFERENCE} of the largest, "
                    f"{part.largest:.1e}, may be due to rounding"
                )
        return None

    def speed(self, *, turns: int = 3) -> tuple[float, float]:
        """Words per second on the sample before and after, the fastest of so many turns."""
        return words_per_second(
            lambda docs: list(self.original.pipe(docs)),
            lambda docs: list(self.nlp.pipe(docs)),
            lambda: make_docs(self.original, self.texts),
            batch_size=self.original.batch_size,
            turns=turns,
        )
