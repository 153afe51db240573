"""The guide's programs that train with Ray and Spark, as they are written there."""

import re
from pathlib import Path

import pytest
from programs import run_python
from rank_runs import run_training
from ranks import run_ranks
from tiny_training import ENCODER, OUR_TAGGER, contents, make_config, write_corpora

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
PROGRAMS = dict(
    re.findall(r"^```python\n# my_(ray|spark)_training\.py\n(.*?)^```", GUIDE, re.M | re.S)
)
STILL = {**OUR_TAGGER, "encoder": {**ENCODER, "dropout": 0.0}}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a config, and what two processes make of it."""
    folder = tmp_path_factory.mktemp("training")
    write_corpora(folder)
    config = make_config(folder, {"torch_tagger": {"model": STILL}}, dropout=0.0, max_steps=5)
    assert run_ranks(run_training, 2, config, folder / "expected") == [None, None]
    return folder


@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_program_trains_as_two_processes_do(engine, trained, tmp_path):
    program = PROGRAMS[engine].replace("/data/config.cfg", str(trained / "config.cfg"))
    program = program.replace("/data/out", str(tmp_path / "out"))
    program = program.replace("ray.init()", "ray.init(num_cpus=2, include_dashboard=False)")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    run_python(["program.py"], tmp_path, seconds=400, OMP_NUM_THREADS="1")
    for name in ("model-last", "model-best"):
        assert contents(tmp_path / "out" / name) == contents(trained / "expected" / name)
