"""A failing save leaves the old file, and no litter beside it."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spacy_torch.bridge.atomic import replacing, replacing_together
from spacy_torch.bridge.weights import load_weights, save_weights

FACTS = {"name": "X", "sizes": {}, "info": {}}
SAVE_TWOS = """
import sys, torch
from spacy_torch.bridge.weights import save_weights
save_weights({"x": torch.full((100_000,), 2.0)}, sys.argv[1], name="X", sizes={}, info={})
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights({"x": torch.ones(100_000)}, path, **FACTS)
    return path


def assert_still_ones(path: Path) -> None:
    loaded = torch.zeros(100_000)
    load_weights(path, {"x": loaded})
    assert loaded.eq(1).all()


def test_a_new_file_is_put_in_place(tmp_path: Path):
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_symbolic_link_is_followed(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_leaves_the_old_file_and_no_litter(saved: Path, monkeypatch, call):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left.*nothing was replaced.*model\.saf") as caught:
        save_weights({"x": torch.full((100_000,), 2.0)}, saved, **FACTS)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(saved.parent) == [saved.name]
    assert_still_ones(saved)


def test_files_written_together_are_replaced_at_the_end_or_not_at_all(tmp_path: Path):
    def write(text: bytes, *, divisor: int) -> float:
        with replacing_together():
            for name in ("a", "b"):
                with replacing(tmp_path / name) as file:
                    file.write(text)
            assert text == b"new" or not (tmp_path / "a").exists()
            return 1 / divisor

    write(b"old", divisor=1)
    with pytest.raises(ZeroDivisionError):
        write(b"new", divisor=0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"old",
        "b": b"old",
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_block_leaves_the_old_file_and_no_litter(saved: Path, error):
    def write_half() -> None:
        with replacing(saved) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert os.listdir(saved.parent) == [saved.name]
    assert_still_ones(saved)


def test_a_directory_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch):
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not for directories")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_missing_directory_is_named(tmp_path: Path):
    with (
        pytest.raises(FileNotFoundError, match="nowhere/file"),
        replacing(tmp_path / "nowhere/file"),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_real_refusal_to_write_more_leaves_the_old_file_and_no_litter(saved: Path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    run = subprocess.run(
        [sys.executable, "-c", limit + SAVE_TWOS, str(saved)], capture_output=True, text=True
    )
    assert "nothing was replaced" in run.stderr
    assert os.listdir(saved.parent) == [saved.name]
    assert_still_ones(saved)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_kill_during_saving_leaves_the_old_file(saved: Path):
    stop_before_header = """
import time
from spacy_torch.bridge import weights_bytes
real = weights_bytes.FileSink.write_at
def write_at(self, start, data):
    if start == 0:
        self._file.flush()
        print("tensors written", flush=True)
        time.sleep(60)
    real(self, start, data)
weights_bytes.FileSink.write_at = write_at
"""
    with subprocess.Popen(
        [sys.executable, "-c", stop_before_header + SAVE_TWOS, str(saved)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"tensors written\n"
        process.send_signal(signal.SIGKILL)
    left = [name for name in os.listdir(saved.parent) if name != saved.name]
    assert all(name.startswith(".spacy-torch-") for name in left)
    assert_still_ones(saved)
