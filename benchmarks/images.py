"""Measure the components of pictures.

python -m benchmarks.images
python -m benchmarks.images --only ROW --only ANOTHER
python -m benchmarks.images --quick
"""

from benchmarks.table import run_benchmark

if __name__ == "__main__":
    run_benchmark("images", description=__doc__ or "")
