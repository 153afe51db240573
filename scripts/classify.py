"""Load an installed pipeline by its name, classify a test set and score the answers.

Runs in an environment that holds the pipeline's package and what it requires, nothing else.
"""

import argparse
import csv
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import spacy

SHOWN = 5


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the package, as spacy.load() takes it")
    parser.add_argument("test", type=Path, help="CSV file with the columns text and category")
    parser.add_argument("output", type=Path, help="JSON file for the scores")
    args = parser.parse_args()
    nlp = spacy.load(args.name)
    print(f"Loaded {args.name} {nlp.meta['version']} with {', '.join(nlp.pipe_names)}")
    print(f"from {nlp.path}, in {sys.prefix}", flush=True)
    with args.test.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    gold = [row["category"] for row in rows]
    start = time.perf_counter()
    docs = list(nlp.pipe(texts))
    seconds = time.perf_counter() - start
    guesses = [max(doc.cats, key=doc.cats.__getitem__) for doc in docs]
    for i in sorted(random.Random(0).sample(range(len(rows)), SHOWN)):
        guess, score = guesses[i], docs[i].cats[guesses[i]]
        mark = "right" if guess == gold[i] else f"wrong, it is {gold[i]}"
        print(f"  {texts[i].strip()!r}\n    -> {guess} {score:.2f} ({mark})")
    scores = {
        "accuracy": sum(a == b for a, b in zip(guesses, gold, strict=True)) / len(gold),
        "macro_f": macro_f(guesses, gold),
        "words_per_second": sum(map(len, docs)) / seconds,
        "texts": len(texts),
    }
    args.output.write_text(json.dumps(scores, indent=2), encoding="utf-8")


def macro_f(guesses: list[str], gold: list[str]) -> float:
    """The F score of each label, averaged."""
    guessed, wanted = Counter(guesses), Counter(gold)
    right = Counter(a for a, b in zip(guesses, gold, strict=True) if a == b)
    # 2PR / (P + R) with P = right / guessed and R = right / wanted.
    return sum(2 * right[label] / (guessed[label] + wanted[label]) for label in wanted) / len(
        wanted
    )


if __name__ == "__main__":
    main()
