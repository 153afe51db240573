import subprocess
import sys

import pytest

from spacy_torch.annotation.one_session import hold_dataset

HOLD = """
import sys
from pathlib import Path
from spacy_torch.annotation.one_session import hold_dataset
with hold_dataset(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_dataset_is_free_again_once_the_session_that_wrote_it_was_killed(tmp_path):
    dataset = tmp_path / "new folder" / "answers.jsonl"
    command = [sys.executable, "-c", HOLD, str(dataset)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        message = r"another session is writing to .*answers\.jsonl: end that one first"
        with pytest.raises(RuntimeError, match=message), hold_dataset(dataset):
            pass
        other.kill()
    with hold_dataset(dataset):
        pass


def test_each_dataset_has_a_lock_of_its_own(tmp_path):
    with hold_dataset(tmp_path / "one.jsonl"), hold_dataset(tmp_path / "two.jsonl"):
        pass
