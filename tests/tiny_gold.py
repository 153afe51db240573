"""Good and bad things: sixteen words of opinion, each of four things."""

import spacy

from spacy_torch.annotation.gold import Gold, split_gold

FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
GOOD = ("good", "great", "fine", "nice")
BAD = ("bad", "awful", "poor", "sad")
GOLD = [
    Gold.of(f"{word} {thing}", ["POS" if word in GOOD else "NEG"])
    for word in (*GOOD, *BAD)
    for thing in ("film", "soup", "day", "hat", "boat", "song")
]


def make_data(**kwargs):
    return split_gold(GOLD, **kwargs)


def make_config(factory="torch_textcat", model=FAST):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, name="textcat", config={} if model is None else {"model": model})
    return nlp.config
