"""The guide's command, and its programs for Ray, Spark and Dask, as they are written there."""

import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest
import spacy
from programs import run_python
from tiny_annotator import make_texts, read_scores, save_pipeline

from spacy_torch import Annotator
from spacy_torch.inference.parts import read_parts

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "prediction.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# my_(ray|spark|dask)\.py\n(.*?)^```", GUIDE, re.M | re.S))
COMMAND = re.findall(r"^python (-m spacy torch-annotate .*)$", GUIDE, re.M)[0]
TEXTS = make_texts(40)

pytestmark = pytest.mark.slow


def read_parquet(folder):
    rows = pyarrow.parquet.read_table(folder).to_pylist()
    return sorted((row["id"], *read_scores(row["doc"])) for row in rows)


def read_spacy(folder):
    docs = read_parts(folder, spacy.blank("en").vocab)
    return [(doc.user_data["record"]["id"], *read_scores(doc.to_bytes())) for doc in docs]


@pytest.mark.parametrize(
    ("engine", "read"),
    [
        ("ray", read_parquet),
        ("spark", read_parquet),
        ("dask", read_spacy),
        ("command", read_spacy),
    ],
)
def test_program_annotates_every_text_once(engine, read, tmp_path):
    save_pipeline(tmp_path / "cards")
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if engine == "command":
        run_python(COMMAND.split(), tmp_path)
    else:
        (tmp_path / "program.py").write_text(PROGRAMS[engine], encoding="utf-8")
        run_python(["program.py"], tmp_path)
    expected = [read_scores(row["doc"]) for row in Annotator(tmp_path / "cards")(TEXTS)]
    assert read(tmp_path / "annotated") == [(i, *found) for i, found in enumerate(expected)]
