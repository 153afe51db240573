"""Measure the text classifiers against spaCy's own, and print one table.

    python -m benchmarks.textcat
    python -m benchmarks.textcat --only step_bow --only memory
    python -m benchmarks.textcat --quick

Every row runs in a new process with one thread and adds its figures to the results file as
soon as it has them, so a run that is stopped loses nothing; --only measures some rows anew.
Every figure is a ratio to a peer that ran in turns with ours; the seconds in the file are
for orientation. --quick shows in a few minutes that everything runs; its figures mean nothing.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import one_thread_environment
from benchmarks.results import format_markdown, format_table, read_results
from benchmarks.rows import ROWS
from benchmarks.settings import ROOT

RESULTS = ROOT / "assets" / "benchmarks" / "textcat.json"
QUICK_RESULTS = ROOT / "metrics" / "benchmark-quick.json"


def main() -> None:
    """Read the command line, measure the rows, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=ROWS, help="measure this row")
    parser.add_argument("--quick", action="store_true", help="few repetitions, as a smoke test")
    parser.add_argument("--output", type=Path, help=f"results file (default: {RESULTS.name})")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        help="folder with sst2/train.tsv and sst2/test.tsv (text, tab, label); may be missing",
    )
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("--markdown", action="store_true", help="the same, for the README")
    args = parser.parse_args()
    output = (args.output or (QUICK_RESULTS if args.quick else RESULTS)).resolve()
    if args.markdown:
        print(format_markdown(read_results(output), list(ROWS)))
        return
    rows = [] if args.table else [row for row in ROWS if row in (args.only or ROWS)]
    failed = [row for row in rows if not _measure(row, args, output)]
    print(f"\n{format_table(read_results(output), list(ROWS))}\n\n{output}")
    if failed:
        raise SystemExit(f"These rows failed and were not written: {', '.join(failed)}")


def _measure(row: str, args: argparse.Namespace, output: Path) -> bool:
    print(f"== {row}", flush=True)
    command = [sys.executable, "-m", "benchmarks.rows", row, str(output), str(args.data.resolve())]
    if args.quick:
        command.append("--quick")
    # Another process: settings of threads work, and a row's memory is given back.
    return subprocess.run(command, cwd=ROOT, env=one_thread_environment()).returncode == 0


if __name__ == "__main__":
    main()
