"""Print the results of the main job as a small table."""

import argparse
import json
from pathlib import Path


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evaluation", type=Path, help="scores by spacy benchmark accuracy")
    parser.add_argument("package", type=Path, help="scores by the installed package")
    args = parser.parse_args()
    trained = json.loads(args.evaluation.read_text(encoding="utf-8"))
    shipped = json.loads(args.package.read_text(encoding="utf-8"))
    rows = [
        ("accuracy", f"{shipped['accuracy']:.1%}"),
        ("macro F", f"{shipped['macro_f']:.1%}"),
        ("words/s", f"{shipped['words_per_second']:,.0f}"),
        ("wheel size", f"{shipped['wheel_bytes'] / 2**20:.1f} MiB"),
    ]
    print(f"\nBANKING77, {shipped['texts']:,} test texts, the installed package")
    for name, value in rows:
        print(f"  {name:<12}{value:>12}")
    # What is shipped must be what was trained.
    difference = abs(trained["cats_score"] - shipped["macro_f"])
    if difference > 0.001:
        raise SystemExit(
            f"The installed package scores {shipped['macro_f']:.4f}, but the pipeline that was "
            f"trained {trained['cats_score']:.4f}"
        )


if __name__ == "__main__":
    main()
