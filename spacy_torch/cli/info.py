"""What a pipeline is made of."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.cli._util import Arg, Opt, app, import_code
from wasabi import msg

if TYPE_CHECKING:
    from spacy_torch.info.loaded import LoadedModule
    from spacy_torch.info.pipeline import ComponentInfo
    from spacy_torch.info.stored import StoredWeights


@app.command("torch-info")
def torch_info(
    pipeline: str = Arg(..., help="Installed pipeline, or the path of one"),
    modules: bool = Opt(False, "--modules", "-m", help="List the modules inside each module"),
    as_json: bool = Opt(False, "--json", "-j", help="Print all of it as JSON"),
    stored: bool = Opt(False, "--stored", "-s", help="Read the files and load nothing"),
    code_path: Path | None = Opt(None, "--code", "-c", help="Python file with what it needs"),
) -> None:
    """Show what a pipeline is made of: torch modules, parameters, files, digests, versions.

    Damaged files are named, and what the others say is shown.
    """
    from spacy_torch.info.pipeline import describe_stored, find_folder, inspect_pipeline

    import_code(code_path)
    try:
        info = describe_stored(find_folder(pipeline)) if stored else inspect_pipeline(pipeline)
    except (OSError, ValueError) as error:
        msg.fail("Cannot read it", str(error), exits=1)
    if as_json:
        print(json.dumps(info.to_json(), indent=2))
    else:
        msg.divider(info.name)
        for component in info.components:
            _print_component(component, with_modules=modules)
        if not info.has_torch:
            msg.info("There are no torch modules in it")
    wrong = [*info.damaged, *([] if info.problem is None else [info.problem])]
    if wrong and not as_json:
        title = "It cannot be loaded" if info.problem else "It is damaged"
        msg.fail(title, "\n".join(dict.fromkeys(wrong)))
    if wrong:
        raise SystemExit(1)


def _print_component(component: "ComponentInfo", *, with_modules: bool) -> None:
    shared = f"shared with {component.shares}" if component.shares else "its own"
    rows = {
        "factory": component.factory,
        "model": component.architecture or "none",
        "encoder": f"{component.encoder}, {shared}" if component.encoder else "",
    }
    if component.n_thinc:
        rows["Thinc"] = f"{component.n_thinc:,} parameters"
    for module in component.modules:
        rows |= _numbered(rows, _module_rows(module))
    for weights in component.stored.weights if component.stored else ():
        rows |= _numbered(rows, _weights_rows(weights, is_loaded=bool(component.modules)))
    if component.stored is not None:
        rows["folder"] = f"{format_bytes(component.stored.n_bytes)} on disk"
    print(f"\n{component.name}")
    width = max(map(len, rows))
    for title, value in rows.items():
        if value:
            print(f"  {title:{width}}  {value}")
    for module in component.modules if with_modules else ():
        print()
        msg.table(
            list(_part_rows(module)),
            header=("module", "class", "parameters", "frozen"),
            aligns=("l", "l", "r", "r"),
            spacing=2,
        )


def _module_rows(module: "LoadedModule") -> dict[str, str]:
    counts = [f"{module.n_trainable:,} to train", f"{module.n_frozen:,} frozen"]
    if module.n_buffers:
        counts.append(f"{module.n_buffers:,} in buffers")
    return {
        "module": module.kind,
        "parameters": ", ".join(counts),
        "in memory": f"{format_bytes(module.n_bytes)}, {_types(module.dtypes)}, "
        f"on {', '.join(module.devices)}",
        "sizes": ", ".join(
            f"{name} {size}" for name, size in module.sizes.items() if isinstance(size, int)
        ),
    }


def _weights_rows(weights: "StoredWeights", *, is_loaded: bool) -> dict[str, str]:
    if weights.problem is not None:
        return {"weights": f"{weights.file}: damaged"}
    found = f"{weights.n_elements:,} numbers, {_types(weights.dtypes)}, "
    versions = (f"{name} {version}" for name, version in weights.versions.items())
    return {
        "weights": f"{weights.file}: {'' if is_loaded else found}{format_bytes(weights.n_bytes)}",
        "digest": weights.digest,
        "saved by": ", ".join(versions),
    }


def _numbered(rows: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The new rows, under titles that are free; a component may have several modules."""
    number = 1 + sum(title.split(" #")[0] == next(iter(new)) for title in rows)
    return {f"{title} #{number}" if number > 1 else title: value for title, value in new.items()}


def _part_rows(module: "LoadedModule") -> Iterator[tuple[str, str, str, str]]:
    for part in module.parts:
        depth = part.path.count(".") + 1 if part.path else 0
        name = "  " * depth + (part.path.rpartition(".")[2] or module.name)
        frozen = f"{part.n_frozen:,}" if part.n_frozen else ""
        yield name, part.kind, f"{part.n_parameters:,}" if part.n_parameters else "", frozen


def _types(dtypes: Mapping[str, int]) -> str:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return " and ".join(f"{name} ({count:,})" for name, count in dtypes.items())


def format_bytes(n_bytes: int) -> str:
    """Bytes in the unit in which people say them."""
    size, unit = float(n_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
