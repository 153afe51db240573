"""Measure the text classifiers against spaCy's own.

python -m benchmarks.textcat
python -m benchmarks.textcat --only ROW --only ANOTHER
python -m benchmarks.textcat --quick
"""

from benchmarks.table import run_benchmark

if __name__ == "__main__":
    run_benchmark("textcat", description=__doc__ or "")
