"""What a tagger learns from, writes and refuses."""

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim

SENTENCES = [(["she", "sees", "him"], ["PRP", "VBZ", "PRP"]), (["go"], ["VB"])]


def make_nlp(**config: object) -> Language:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
    nlp.add_pipe("torch_tagger", config={"model": model, **config})
    return nlp


def make_example(nlp: Language, words: list[str], tags: list[str]) -> Example:
    return Example(Doc(nlp.vocab, words), Doc(nlp.vocab, words, tags=tags))


def train(nlp: Language, sentences=SENTENCES, *, steps: int = 40) -> None:
    examples = [make_example(nlp, *sentence) for sentence in sentences]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def tags_of(nlp: Language, words: list[str]) -> list[str]:
    return [token.tag_ for token in nlp(Doc(nlp.vocab, words))]


def test_labels_come_from_the_examples_in_alphabetical_order():
    nlp = make_nlp()
    train(nlp, steps=0)
    assert nlp.get_pipe("torch_tagger").labels == ("PRP", "VB", "VBZ")


def test_tokens_without_a_gold_tag_train_nothing():
    nlp = make_nlp()
    train(nlp, [(["go", "on"], ["VB", "RP"])], steps=0)
    nothing = [make_example(nlp, ["go", "on"], ["", ""])]
    losses = nlp.update(nothing, sgd=nlp.create_optimizer())
    assert losses == {"torch_tagger": 0.0}
    output = get_shim(nlp.get_pipe("torch_tagger").logits_model).module.output
    assert not output.weight.any()
    assert not output.bias.any()


def test_partly_tagged_sentence_is_learned_as_far_as_it_goes():
    nlp = make_nlp()
    train(nlp, [(["she", "sees", "him"], ["PRP", "", "PRP"]), (["go"], ["VB"])])
    found = tags_of(nlp, ["she", "sees", "him"])
    assert [found[0], found[2]] == ["PRP", "PRP"]


def test_tags_that_are_there_stay_unless_told_otherwise():
    nlp = make_nlp()
    train(nlp)
    doc = Doc(nlp.vocab, ["she", "sees", "him"], tags=["X", "", ""])
    assert [token.tag_ for token in nlp(doc)] == ["X", "VBZ", "PRP"]
    nlp.get_pipe("torch_tagger").cfg["overwrite"] = True
    assert [token.tag_ for token in nlp(doc)] == ["PRP", "VBZ", "PRP"]


def test_probabilities_of_each_token_sum_to_one_and_favour_its_tag():
    nlp = make_nlp()
    train(nlp)
    docs = [Doc(nlp.vocab, words) for words in (["she", "sees", "him"], [], ["go"])]
    found = nlp.get_pipe("torch_tagger").probabilities(docs)
    assert [len(each.candidates) for each in found] == [3, 0, 1]
    numpy.testing.assert_allclose(found[0].values.sum(1), 1, rtol=1e-5)
    best = [max(row, key=row.get) for _, row in found[0]]
    assert best == ["PRP", "VBZ", "PRP"]
    assert not docs[0].has_annotation("TAG")


def test_tag_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    train(nlp)
    nlp.get_pipe("torch_tagger").add_label("UH")
    assert tags_of(nlp, ["she", "sees", "him"]) == ["PRP", "VBZ", "PRP"]
    optimizer = nlp.resume_training()
    more = [make_example(nlp, *s) for s in [*SENTENCES, (["oh"], ["UH"])]]
    for _ in range(40):
        nlp.update(more, sgd=optimizer)
    assert tags_of(nlp, ["oh"]) == ["UH"]


def test_examples_without_tags_are_refused():
    nlp = make_nlp()
    with pytest.raises(ValueError, match=r"needs at least one label, found none: annotate token"):
        train(nlp, [(["go"], [""])])


def test_model_of_another_task_is_refused():
    model = {"@architectures": "spacy-torch.TextCatBOW.v1", "exclusive_classes": True}
    with pytest.raises(ValueError, match=r"needs a model that scores each token, but .* each text"):
        make_nlp(model=model)


def test_loss_of_labels_that_do_not_exclude_each_other_is_refused():
    with pytest.raises(ValueError, match="has exclusive labels, which the loss"):
        make_nlp(loss={"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"})
