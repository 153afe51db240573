"""README and guides: their examples run, their links lead somewhere, their figures are measured."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spacy.training import Example

from benchmarks.results import format_figures, format_markdown, read_results
from benchmarks.rows import TABLES
from benchmarks.summary import choose_figures

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARED = README.partition("\n## Compared with")[2].partition("\n## ")[0]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES]
PAGES.append(ROOT / "assets" / "benchmarks" / "README.md")
TEXT = "\n".join([README, *(guide.read_text(encoding="utf-8") for guide in GUIDES)])
BLOCKS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", TEXT, re.M | re.S)
# A block that begins with the name of its file is a module, and has a test of its own.
EXAMPLES = [(title, code) for title, code in BLOCKS if not code.startswith("# my_")]


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example_runs_as_it_is_written(title, code, tmp_path):
    if "# saved by the README's example" in code:
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page: Path) -> list[str]:
    """The anchors of a page's headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in found]


def test_figures_of_the_readme_are_those_that_were_measured():
    assert format_figures(choose_figures()) in README, "python -m benchmarks.summary prints them"


@pytest.mark.parametrize("table", TABLES)
def test_every_figure_that_was_measured_is_in_the_table(table):
    folder = ROOT / "assets" / "benchmarks"
    measured = format_markdown(read_results(folder / f"{table}.json"), list(TABLES[table]))
    said = (folder / "README.md").read_text(encoding="utf-8")
    assert measured in said, f"python -m benchmarks.{table} --markdown prints it"
