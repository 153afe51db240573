"""Export the torch modules of a pipeline, and hold the result against the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model
from torch import nn

from spacy_torch.architectures.exported import Format, make_exported_shim
from spacy_torch.bridge.building import named_tensors
from spacy_torch.bridge.model import find_wrapped, get_shim
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.bridge.weights import weights_to_chunks
from spacy_torch.comparison import find_differences, make_docs, sample_texts
from spacy_torch.export.calls import Call, largest_difference, recorded_calls
from spacy_torch.export.formats import Exported, NotExportable
from spacy_torch.export.graphs import export_onnx, export_program
from spacy_torch.export.int8 import export_int8
from spacy_torch.export.report import Part, Report
from spacy_torch.rebuilding import rebuild, with_blocks

ARCHITECTURE = "spacy-torch.Exported.v1"
# Up to what scores count as equal.
SCORE_TOLERANCE: dict[str, float] = {"int8": 0.1}
EXPORTERS: dict[Format, Callable[[TorchShim, Sequence[Call]], Exported]] = {
    "int8": export_int8,
    "onnx": export_onnx,
    "torch.export": export_program,
}


def export_pipeline(
    nlp: Language,
    format: Format,
    *,
    components: Iterable[str] | None = None,
    texts: Sequence[str | Doc] | None = None,
) -> Report:
    """A pipeline whose torch modules are in another form, for prediction only.

    The pipeline given stays as it is. In the new one the components are the same, made by the
    same factories, and around the model of each that was exported there is a block
    `@architectures = "spacy-torch.Exported.v1"`. It went through bytes once, as on saving.

    Args:
        format: "int8" rounds the large matrices to 8 bits.
        components: whose modules; default: those of all components.
        texts: a sample, on which the modules are run and both pipelines compared; default:
            example sentences of the pipeline's language.

    Returns:
        The new pipeline, and what became of each module. Look at its `objection`: there is
        one if the new pipeline annotates too much of the sample differently.

    Raises:
        ValueError: there is no such format or component, one is not trained, or the sample
            has no tokens.
    """
    if format not in EXPORTERS:
        raise ValueError(f"format must be one of {', '.join(EXPORTERS)}, got {format!r}")
    sample = tuple(sample_texts(nlp.lang or "xx") if texts is None else texts)
    docs = make_docs(nlp, sample)
    n_tokens = sum(map(len, docs))
    if not n_tokens:
        raise ValueError("the sample has no tokens: give texts like those to be annotated")
    names = _check_components(nlp, components)
    models = {name: _wrapped_in(nlp, name) for name in names}
    with ExitStack() as stack:
        calls = {
            id(shim): stack.enter_context(recorded_calls(shim.module))
            for nodes in models.values()
            for shim in map(get_shim, nodes)
        }
        list(nlp.pipe(docs))
    # Modules are replaced in a copy, which then has others than its config says; its contents
    # go into a pipeline made from the new config.
    changed = rebuild(nlp, nlp.config)
    parts: list[Part] = []
    blocks: dict[tuple[str, ...], dict[str, Any]] = {}
    config = nlp.config.interpolate()["components"]
    for name, nodes in models.items():
        if config[name]["model"].get("@architectures") == ARCHITECTURE:
            parts += [
                Part(name, get_shim(node).name, kept="it is exported already") for node in nodes
            ]
            continue
        shims: list[TorchShim] = []
        for shim in map(get_shim, nodes):
            part, new = _export(name, shim, calls[id(shim)], format=format)
            parts.append(part)
            shims.append(new)
        if all(part.kept for part in parts if part.component == name):
            continue
        for node, shim in zip(_wrapped_in(changed, name), shims, strict=True):
            node.shims[0] = shim
        block = {"@architectures": ARCHITECTURE, "format": format, "model": config[name]["model"]}
        blocks["components", name, "model"] = block
    if not blocks:
        return Report(nlp, nlp, format, tuple(parts), sample, n_tokens, ())
    exported = rebuild(changed, with_blocks(nlp.config, blocks))
    tolerance = SCORE_TOLERANCE.get(format, 1e-3)
    differences = find_differences(nlp, exported, sample, tolerance=tolerance)
    return Report(exported, nlp, format, tuple(parts), sample, n_tokens, tuple(differences))


def _check_components(nlp: Language, components: Iterable[str] | None) -> list[str]:
    """The names of the components to export: those given, or all with a torch module."""
    if isinstance(components, str):
        raise ValueError(f"components must be a list of names, got {components!r}")
    having = [name for name in nlp.component_names if _wrapped_in(nlp, name)]
    wanted = having if components is None else list(components)
    unknown = [name for name in wanted if name not in having]
    if unknown:
        raise ValueError(
            f"the pipeline has no component {', '.join(map(repr, unknown))} with a torch module; "
            f"those with one are {', '.join(map(repr, having)) or 'none'}"
        )
    for name in wanted:
        if not all(get_shim(node).is_built for node in _wrapped_in(nlp, name)):
            raise ValueError(f"the component {name!r} is not trained yet: train it, then export")
    return wanted


def _wrapped_in(nlp: Language, name: str) -> list[Model[Any, Any]]:
    model = getattr(nlp.get_pipe(name), "model", None)
    return find_wrapped(model) if isinstance(model, Model) else []


def _export(
    component: str, shim: TorchShim, calls: Sequence[Call], *, format: Format
) -> tuple[Part, TorchShim]:
    """Export one module, or leave it as it is, and say how that went."""
    new = make_exported_shim(shim, format)
    try:
        if not calls:
            raise NotExportable("the sample never reached it: give texts that do")
        exported = EXPORTERS[format](shim, calls)
        _load(new, exported, shim)
        difference, largest = largest_difference(new.module, calls)
    except NotExportable as error:
        _load(new, Exported(shim.module, {}, ""), shim)
        return Part(component, shim.name, kept=str(error)), new
    sizes = _n_bytes(shim.module), _n_bytes(new.module)
    part = Part(
        component,
        shim.name,
        what=exported.what,
        difference=difference,
        largest=largest,
        n_bytes=sizes,
    )
    return part, new


def _load(new: TorchShim, exported: Exported, shim: TorchShim) -> None:
    """Give the new shim the module, in the form in which a pipeline is saved."""
    weights = weights_to_chunks(
        named_tensors(exported.module),
        name=new.name,
        sizes={**shim.sizes, "exported": exported.layout},
        info=shim.info,
    )
    new.from_bytes(weights)


def _n_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in named_tensors(module).values())
