"""`spacy-torch.image_class_scorer.v1`: how many pictures, each of one class, are recognized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from spacy.training import Example


def make_image_class_scorer() -> Callable[..., dict[str, Any]]:
    """Accuracy and macro-averaged F of classes that exclude each other."""
    return score_image_classes


def score_image_classes(examples: Iterable[Example], **_: Any) -> dict[str, Any]:
    """Scores of the most probable of `doc.cats`; of several that are, the first counts.

    - `cats_accuracy`: the share of documents of which it is the right one;
    - `cats_macro_f`: the mean of the F of each class that a reference has or that was found;
    - `cats_f_per_type`: precision, recall and F of each.

    References of which the class is not known do not count; a document without predicted
    classes is wrong. Where nothing counts, all scores are None.

    Raises:
        ValueError: a reference has several classes.
    """
    right, found, gold = Counter[str](), Counter[str](), Counter[str]()
    for example in examples:
        true = [name for name, value in example.reference.cats.items() if value >= 0.5]
        if not true:
            continue
        if len(true) > 1:
            raise ValueError(
                f"{example.reference.text!r} has the classes {', '.join(map(repr, true))}, and "
                "the scorer takes one: use spacy-torch.textcat_multilabel_scorer.v1"
            )
        gold[true[0]] += 1
        cats = example.predicted.cats
        if cats:
            name = max(cats, key=cats.__getitem__)
            found[name] += 1
            right[name] += name == true[0]
    if not gold:
        return {"cats_accuracy": None, "cats_macro_f": None, "cats_f_per_type": None}
    by_name = {
        name: {
            "p": right[name] / max(found[name], 1),
            "r": right[name] / max(gold[name], 1),
            "f": 2 * right[name] / (found[name] + gold[name]),
        }
        for name in sorted(found | gold)
    }
    return {
        "cats_accuracy": right.total() / gold.total(),
        "cats_macro_f": sum(prf["f"] for prf in by_name.values()) / len(by_name),
        "cats_f_per_type": by_name,
    }
