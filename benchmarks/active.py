"""Measure learning while labelling: sessions with a simulated annotator.

python -m benchmarks.active
python -m benchmarks.active --only ROW --only ANOTHER
python -m benchmarks.active --quick
"""

from benchmarks.table import run_benchmark

if __name__ == "__main__":
    run_benchmark("active", description=__doc__ or "")
