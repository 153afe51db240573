import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spacy.training import Example

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARED = README.partition("\n## Compared with")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", README, re.M | re.S)
# A block that begins with the name of its file is a module, and has a test of its own.
EXAMPLES = [(title, code) for title, code in BLOCKS if not code.startswith("# my_")]


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example_runs_as_it_is_written(title, code, tmp_path):
    if "# saved above" in code:
        run(EXAMPLES[0][1], tmp_path)
    assert run(code, tmp_path)


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_loss_of_ones_own_learns_what_is_known():
    names: dict[str, Any] = {}
    exec(dict(EXAMPLES)["A loss of your own"], names)
    nlp = names["nlp"]
    cats = [{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}, {"a": 0.0}, {}]
    examples = [
        Example.from_dict(nlp.make_doc(f"text {number}"), {"cats": known})
        for number, known in enumerate(cats)
    ]
    optimizer = nlp.initialize(lambda: examples)
    losses = [nlp.update(examples, sgd=optimizer)["torch_textcat"] for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]


def test_first_example_fits_in_fifteen_lines():
    assert EXAMPLES[0][1].count("\n") <= 15


def test_every_row_of_the_comparison_names_a_test_that_exists():
    rows = [row for row in COMPARED.splitlines() if row.startswith("| ")][1:]
    assert rows
    for row in rows:
        named = re.findall(r"\[`(test_\w+)`\]\(([\w/.]+)\)", row)
        assert named, row
        for name, file in named:
            assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), (name, file)
