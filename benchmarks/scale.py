"""Measure training and annotating at scale: many processes, long runs, large corpora.

python -m benchmarks.scale
python -m benchmarks.scale --only ROW --only ANOTHER
python -m benchmarks.scale --quick
"""

from benchmarks.table import run_benchmark

if __name__ == "__main__":
    run_benchmark("scale", description=__doc__ or "")
