import pyarrow
import pytest
from tiny_annotator import read_scores, save_pipeline

from spacy_torch import Annotator
from spacy_torch.inference.arrow import annotate_table


@pytest.fixture(scope="module")
def annotator(tmp_path_factory):
    return Annotator(save_pipeline(tmp_path_factory.mktemp("pipeline") / "model"))


def test_columns_stay_and_two_are_added(annotator):
    ids = pyarrow.array([5, 6], pyarrow.int16())
    table = pyarrow.table({"id": ids, "text": ["my card", None], "tags": [["x"], []]})
    found = annotate_table(table, annotator)
    assert found.column_names == ["id", "text", "tags", "doc", "error"]
    assert found.select(["id", "text", "tags"]) == table
    doc, none = found["doc"].to_pylist()
    assert read_scores(doc)[0] == "my card"
    assert none is None
    assert found["error"][0].as_py() is None
    assert found["error"][1].as_py().startswith("TypeError: a record needs a str under 'text'")


def test_annotated_table_can_be_annotated_again(annotator):
    once = annotate_table(pyarrow.table({"text": ["my card"], "id": [1]}), annotator)
    again = annotate_table(once.select(["doc", "id", "error"]), annotator)
    assert again.column_names == ["id", "doc", "error"]
    assert read_scores(again["doc"][0].as_py()) == read_scores(once["doc"][0].as_py())


def test_empty_table_has_the_same_types(annotator):
    table = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    assert annotate_table(table, annotator).schema.types == [
        pyarrow.string(),
        pyarrow.binary(),
        pyarrow.string(),
    ]


def test_table_without_texts_is_refused(annotator):
    with pytest.raises(ValueError, match="no column 'text', only 'id', 'body': name the one"):
        annotate_table(pyarrow.table({"id": [1], "body": ["my card"]}), annotator)
