"""Saving and loading take little more memory than the weights themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

N_BYTES = 200_000_000
# The peak is of the process's whole life, so nothing large may come before the start.
MEASURE = """
import sys, torch
from spacy_torch.bridge.weights import load_weights, save_weights
torch.set_num_threads(1)
path, what, n_tensors, n_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def peak():
    # Not ru_maxrss: a child process starts with its parent's.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024
start = peak()
n_values = n_bytes // n_tensors // 4
tensors = {f"t{i}": torch.full((n_values,), float(i + 1)) for i in range(n_tensors)}
if what == "save":
    save_weights(tensors, path, name="X", sizes={}, info={})
else:
    load_weights(path, tensors)
print((peak() - start) / n_bytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
@pytest.mark.parametrize("n_tensors", [1, 50])
def test_peak_memory_is_at_most_one_and_a_half_times_the_weights(tmp_path: Path, n_tensors: int):
    for what in ("save", "load"):
        arguments = [str(tmp_path / "w.safetensors"), what, str(n_tensors), str(N_BYTES)]
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True
        )
        assert 1.0 <= float(run.stdout) <= 1.5, what
