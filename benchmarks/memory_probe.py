"""Train one classifier in this process, save it, and print the peak of its memory."""

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

BATCH = 64
STATUS = Path("/proc/self/status")


def main() -> None:
    """With no steps: only import what the training would import."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("factory", choices=("textcat", "torch_textcat"))
    parser.add_argument("steps", type=int)
    args = parser.parse_args()
    import_all(args.factory)
    if args.steps:
        train_and_save(args.factory, args.steps)
    print(json.dumps({"peak": read_peak()}))


def import_all(factory: str) -> None:
    """Load spaCy, the component's code, and what this program itself needs."""
    import spacy

    import benchmarks.pipelines  # noqa: F401

    spacy.blank("en").add_pipe(factory)


def train_and_save(factory: str, steps: int) -> None:
    """Some steps over texts of BANKING77."""
    from benchmarks.corpus import batched, make_examples, read_banking77
    from benchmarks.pipelines import build_pipeline

    texts = read_banking77("train")
    names = sorted({text.labels[0] for text in texts})
    texts = texts[: BATCH * steps]
    nlp, optimizer = build_pipeline(factory, sample=texts, names=names)
    for batch in batched(make_examples(nlp, texts, names), BATCH):
        nlp.update(batch, sgd=optimizer)
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)


def read_peak() -> int:
    """The most memory this process has had in use, in bytes."""
    if STATUS.exists():
        # Not ru_maxrss: on Linux a new process inherits the peak of the one that started it.
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
