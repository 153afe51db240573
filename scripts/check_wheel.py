"""Hold an installed wheel against the source tree: every module, py.typed, every entry point."""

import argparse
from importlib.metadata import distribution
from pathlib import Path

import spacy

import spacy_torch


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path, help="the source tree")
    tree = parser.parse_args().tree.resolve()
    installed = Path(spacy_torch.__file__).parent
    if tree in installed.parents:
        raise SystemExit(f"spacy_torch comes from the source tree: {installed}")
    wanted = {file_name(path, tree) for path in (tree / "spacy_torch").rglob("*.py")}
    wanted.add("spacy_torch/py.typed")
    found = {file_name(path, installed.parent) for path in installed.rglob("*") if path.is_file()}
    if missing := sorted(wanted - found):
        raise SystemExit(f"The wheel lacks {', '.join(missing)}")
    points = distribution("spacy-torch").entry_points
    for point in points:
        point.load()
    nlp = spacy.blank("en")
    for point in points.select(group="spacy_factories"):
        nlp.add_pipe(point.name)
    print(f"{len(wanted)} files and {len(points)} entry points, in {installed}")


def file_name(path: Path, parent: Path) -> str:
    """The path below a folder, with forward slashes on every system."""
    return path.relative_to(parent).as_posix()


if __name__ == "__main__":
    main()
