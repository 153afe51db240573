import pytest
import spacy
from spacy.tokens import DocBin

from spacy_torch.inference.parts import check_no_parts, part_path, read_parts


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path):
    nlp = spacy.blank("en")
    for number in (10, 2, 100):
        docs = [nlp(f"{number} {place}") for place in "ab"]
        DocBin(docs=docs).to_disk(part_path(tmp_path, number))
    found = [doc.text for doc in read_parts(tmp_path, nlp.vocab)]
    assert found == ["2 a", "2 b", "10 a", "10 b", "100 a", "100 b"]


def test_folder_without_parts_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no part-\*.spacy in"):
        next(read_parts(tmp_path, spacy.blank("en").vocab))


def test_folder_with_parts_is_not_written_into(tmp_path):
    check_no_parts(tmp_path)
    DocBin().to_disk(part_path(tmp_path, 3))
    with pytest.raises(FileExistsError, match="has 1 files already, such as part-000003.spacy"):
        check_no_parts(tmp_path)
