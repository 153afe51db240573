"""How good configs/textcat.cfg is on the test set of BANKING77: three seeds, mean and spread.

python -m benchmarks.accuracy
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from thinc.api import Config

from benchmarks.machine import machine_facts
from benchmarks.results import write_json
from benchmarks.settings import ROOT
from benchmarks.spacy_train import Scores, convert_banking77, run_spacy_train, score_pipeline

CONFIG = ROOT / "configs" / "textcat.cfg"
RESULTS = ROOT / "assets" / "benchmarks" / "accuracy.json"
QUICK_RESULTS = ROOT / "metrics" / "accuracy-quick.json"


def main() -> None:
    """Read the command line, train, print and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--quick", action="store_true", help="20 steps, as a smoke test")
    parser.add_argument("--output", type=Path, help=f"results file (default: {RESULTS.name})")
    args = parser.parse_args()
    output = args.output or (QUICK_RESULTS if args.quick else RESULTS)
    scores: dict[int, Scores] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert_banking77(folder)
        for seed in range(args.seeds):
            print(f"== seed {seed}", flush=True)
            scores[seed] = _train(folder, seed, quick=args.quick)
            # Written after every seed, so that a run that is stopped loses nothing.
            write_json(output, summarize(scores, quick=args.quick))
    summary = summarize(scores, quick=args.quick)
    print(f"\nBANKING77, test, {len(scores)} seeds")
    for name in ("accuracy", "macro_f"):
        found = summary[name]
        print(f"  {name:<10}{found['mean']:7.2%}  ({found['min']:.2%} - {found['max']:.2%})")
    print(output)


def summarize(scores: dict[int, Scores], *, quick: bool) -> dict[str, Any]:
    """Mean and spread over the seeds, the single scores, and where they come from."""
    return {
        "data": "BANKING77, official test split, 3,080 texts",
        "config": CONFIG.name,
        "quick": quick,
        "accuracy": _spread([score.accuracy for score in scores.values()]),
        "macro_f": _spread([score.macro_f for score in scores.values()]),
        "seeds": {str(seed): asdict(score) for seed, score in scores.items()},
        "machine": machine_facts(),
    }


def _train(folder: Path, seed: int, *, quick: bool) -> Scores:
    config = Config().from_disk(CONFIG, interpolate=False)
    config["system"]["seed"] = seed
    if quick:
        config["training"].update(max_steps=20, eval_frequency=10)
    output = folder / f"seed-{seed}"
    run_spacy_train(config, folder, output)
    return score_pipeline(output / "model-best", folder / "test.spacy")


def _spread(values: list[float]) -> dict[str, float | None]:
    return {
        "mean": round(mean(values), 5),
        "min": round(min(values), 5),
        "max": round(max(values), 5),
        "deviation": round(stdev(values), 5) if len(values) > 1 else None,
    }


if __name__ == "__main__":
    main()
