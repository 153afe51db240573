"""What every reader says of a file that it cannot open."""

import re

import pytest
import spacy
from spacy.util import registry

READERS = {
    "spacy-torch.LabelledText.v1": "texts.jsonl",
    "spacy-torch.ProdigyRelations.v1": "tasks.jsonl",
    "spacy-torch.SemEval2010Task8.v1": "TRAIN_FILE.TXT",
}


@pytest.mark.parametrize(("reader", "name"), READERS.items())
def test_missing_file_is_named_with_the_setting_and_the_place_it_was_sought_in(
    reader, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    read = registry.readers.get(reader)(path=f"corpus/{name}")
    message = (
        f'path = "corpus/{name}": {tmp_path}/corpus/{name} does not exist (relative to the '
        f"working directory {tmp_path}); set it to a file in the reader's block of [corpora], or"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        list(read(spacy.blank("en")))


@pytest.mark.parametrize(("reader", "name"), READERS.items())
def test_directory_is_no_file(reader, name, tmp_path):
    (tmp_path / name).mkdir()
    read = registry.readers.get(reader)(path=str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(name)} is a directory; set it"):
        list(read(spacy.blank("en")))
