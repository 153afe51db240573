"""Annotate texts with `n_process=2` again and again, and print a line of JSON for each run."""

import argparse
import json
from pathlib import Path
from time import perf_counter

import spacy
import torch
from spacy.language import Language

import benchmarks.annotate_pipeline  # noqa: F401  (its components)


def main() -> None:
    """Each run forks anew, after torch has run with its threads in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("runs", type=int)
    args = parser.parse_args()
    nlp = spacy.load(args.pipeline)
    texts = json.loads(args.texts.read_text(encoding="utf-8"))
    annotate(nlp, texts, n_process=1)  # fills the cache of words
    for _ in range(args.runs):
        alone, alone_seconds = annotate(nlp, texts, n_process=1)
        torch.randn(1000, 1000) @ torch.randn(1000, 1000)
        shared, shared_seconds = annotate(nlp, texts, n_process=2)
        run = {
            "different": sum(a != b for a, b in zip(alone, shared, strict=True)),
            "alone": alone_seconds,
            "shared": shared_seconds,
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(run), flush=True)


def annotate(nlp: Language, texts: list[str], *, n_process: int) -> tuple[list[list[str]], float]:
    """The tags, and the seconds."""
    start = perf_counter()
    docs = list(nlp.pipe(texts, n_process=n_process, batch_size=100))
    seconds = perf_counter() - start
    return [[token.tag_ for token in doc] for doc in docs], seconds


if __name__ == "__main__":
    main()
