"""Measure the rows of a benchmark, each in a process of its own, and print one table."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import one_thread_environment
from benchmarks.results import format_markdown, format_table, read_results
from benchmarks.rows import TABLES
from benchmarks.settings import ROOT

EPILOG = """
Every row runs in a new process with one thread and adds its figures to the results file as
soon as it has them, so a run that is stopped loses nothing; --only measures some rows anew.
Every figure is a ratio to a peer that ran in turns with ours; the seconds in the file are
for orientation. --quick shows in a few minutes that everything runs; its figures mean nothing.
"""


def run_benchmark(table: str, *, description: str) -> None:
    """Read the command line, measure the rows of a table, print it."""
    rows = TABLES[table]
    results = ROOT / "assets" / "benchmarks" / f"{table}.json"
    parser = argparse.ArgumentParser(
        description=description,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=rows, help="measure this row")
    parser.add_argument("--quick", action="store_true", help="few repetitions, as a smoke test")
    parser.add_argument("--output", type=Path, help=f"results file (default: {results.name})")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        help="folder of data sets that are not in the repository, one folder each; may be missing",
    )
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("--markdown", action="store_true", help="the same, in Markdown")
    args = parser.parse_args()
    quick_results = ROOT / "metrics" / f"benchmark-{table}-quick.json"
    output = (args.output or (quick_results if args.quick else results)).resolve()
    if args.markdown:
        print(format_markdown(read_results(output), list(rows)))
        return
    chosen = [] if args.table else [row for row in rows if row in (args.only or rows)]
    failed = [row for row in chosen if not _measure(row, args, output)]
    print(f"\n{format_table(read_results(output), list(rows))}\n\n{output}")
    if failed:
        raise SystemExit(f"These rows failed and were not written: {', '.join(failed)}")


def _measure(row: str, args: argparse.Namespace, output: Path) -> bool:
    print(f"== {row}", flush=True)
    command = [sys.executable, "-m", "benchmarks.rows", row, str(output), str(args.data.resolve())]
    if args.quick:
        command.append("--quick")
    # Another process: settings of threads work, and a row's memory is given back.
    return subprocess.run(command, cwd=ROOT, env=one_thread_environment()).returncode == 0
