"""Measure taggers, parsers, entity and span components against spaCy's own.

python -m benchmarks.tokens
python -m benchmarks.tokens --only ROW --only ANOTHER
python -m benchmarks.tokens --quick
"""

from benchmarks.table import run_benchmark

if __name__ == "__main__":
    run_benchmark("tokens", description=__doc__ or "")
