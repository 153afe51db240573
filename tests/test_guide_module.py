"""The guide's module, as it is written there: trained, packaged, and loaded elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from spacy.util import load_config
from thinc.api import Config

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
SECTION = GUIDE.partition("\n## Your own module")[2].partition("\n## ")[0]
TEXTS = ["good food,pos", "nice people,pos", "bad food,neg", "awful people,neg", "so good,pos"]


def read_block(language):
    return re.search(rf"^```{language}\n(.*?)^```", SECTION, re.M | re.S)[1]


def run(*command, cwd):
    command = [sys.executable, *command]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the guide's commands have been run."""
    folder = tmp_path_factory.mktemp("own_module")
    (folder / "my_module.py").write_text(read_block("python"), encoding="utf-8")
    (folder / "texts.csv").write_text("\n".join(["text,label", *TEXTS]), encoding="utf-8")
    config = load_config(ROOT / "configs" / "textcat.cfg")
    block = Config().from_str(f"[components]\n[components.torch_textcat]\n{read_block('ini')}")
    config["components"]["torch_textcat"]["model"] = block["components"]["torch_textcat"]["model"]
    config.to_disk(folder / "my_config.cfg")
    (folder / "packages").mkdir()
    run("-m", "spacy", "torch-convert", "texts.csv", "corpus/train.spacy", cwd=folder)
    run("-m", "spacy", "torch-convert", "texts.csv", "corpus/dev.spacy", cwd=folder)
    train, _, package = read_block("bash").splitlines()
    run(*train.split()[1:], "--training.max_steps", "10", cwd=folder)
    run(*package.split()[1:], "--build", "none", cwd=folder)
    return folder


def test_module_fits_in_twentyfive_lines():
    lines = [line for line in read_block("python").splitlines() if line.strip()]
    assert len(lines) < 25


@pytest.mark.slow
def test_packaged_module_loads_sized_from_the_data_and_without_code(folder, tmp_path):
    (package,) = (folder / "packages").iterdir()
    # As the package's setup.py does when a wheel is built.
    shutil.copy(package / "meta.json", package / "en_intents")
    script = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import en_intents; "
        "nlp = en_intents.load(); print(sorted(nlp('good food').cats)); "
        "print(nlp.get_pipe('torch_textcat').model.get_ref('logits').shims[0].sizes)"
    )
    printed = run("-c", script, cwd=tmp_path)
    assert printed.splitlines()[-2:] == ["['neg', 'pos']", "{'n_labels': 2}"]
