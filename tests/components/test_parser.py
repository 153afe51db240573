"""What a parser learns from, writes and refuses."""

import logging

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim
from spacy_torch.components import sentences as sentences_module
from spacy_torch.nn.structured.arcs import ArcFactors

# Words, heads, labels. The second has crossing arcs: "today" hangs on "hearing".
TREES = [
    (
        ["they", "bark", "she", "sees", "him"],
        [1, 1, 3, 3, 3],
        ["nsubj", "ROOT", "nsubj", "ROOT", "obj"],
    ),
    (
        ["a", "hearing", "is", "scheduled", "today"],
        [1, 3, 3, 3, 1],
        ["det", "nsubj", "aux", "ROOT", "obl"],
    ),
    (["go"], [0], ["ROOT"]),
]


def make_nlp(**config: object) -> Language:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.BiaffineParser.v1", "encoder": ENCODER}
    nlp.add_pipe("torch_parser", config={"model": model, **config})
    return nlp


def make_example(nlp: Language, words, heads, deps, **attrs) -> Example:
    return Example(Doc(nlp.vocab, words), Doc(nlp.vocab, words, heads=heads, deps=deps, **attrs))


def train(nlp: Language, trees=TREES, *, steps: int = 60) -> None:
    examples = [make_example(nlp, *tree) for tree in trees]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def parse(nlp: Language, words: list[str]) -> tuple[list[int], list[str]]:
    doc = nlp(Doc(nlp.vocab, words))
    return [token.head.i for token in doc], [token.dep_ for token in doc]


def losses_of(nlp: Language, *examples: Example) -> float:
    return nlp.update(list(examples), sgd=False)["torch_parser"]


@pytest.fixture(scope="module")
def trained() -> Language:
    nlp = make_nlp()
    train(nlp)
    return nlp


def test_trees_and_sentences_are_learned_by_heart_also_with_crossing_arcs(trained):
    for words, heads, deps in TREES:
        assert parse(trained, words) == (heads, deps)
    doc = trained(Doc(trained.vocab, TREES[0][0]))
    assert [sent.text for sent in doc.sents] == ["they bark", "she sees him"]
    crossing = trained(Doc(trained.vocab, TREES[1][0]))
    assert [len(sent) for sent in crossing.sents] == [5]
    assert [child.i for child in crossing[1].children] == [0, 4]


def test_labels_come_from_the_examples_in_alphabetical_order(trained):
    assert trained.get_pipe("torch_parser").labels == (
        "ROOT",
        "aux",
        "det",
        "nsubj",
        "obj",
        "obl",
    )


def test_every_sentence_has_one_root_before_anything_is_learned():
    nlp = make_nlp()
    train(nlp, steps=0)
    doc = nlp(Doc(nlp.vocab, [f"w{i}" for i in range(60)]))
    roots = [sum(token.head == token for token in sent) for sent in doc.sents]
    assert set(roots) == {1}
    assert all(token.dep_ != "ROOT" for token in doc if token.head != token)


def test_sentence_starts_that_a_document_has_are_kept(trained):
    words = TREES[0][0]
    doc = trained(Doc(trained.vocab, words, sent_starts=[1, 0, 0, 1, 0]))
    assert [token.is_sent_start for token in doc] == [True, False, True, True, False]
    doc = Doc(trained.vocab, words)
    doc[2].is_sent_start = False
    assert len(list(trained(doc).sents)) == 1


def test_noun_chunks_can_be_read_from_the_parse(trained):
    doc = Doc(trained.vocab, TREES[1][0], pos=["DET", "NOUN", "AUX", "VERB", "NOUN"])
    assert [chunk.text for chunk in trained(doc).noun_chunks][0].startswith("a hearing")


def test_whitespace_hangs_on_the_word_before_it_and_changes_nothing(trained):
    words = ["\n", "they", "bark", " ", "\n\n", "she", "sees", "him", " "]
    doc = trained(Doc(trained.vocab, words))
    assert [token.head.i for token in doc] == [1, 2, 2, 2, 2, 6, 6, 6, 7]
    assert [doc[i].dep_ for i in (0, 3, 4, 8)] == ["dep"] * 4
    assert [sent.start for sent in doc.sents] == [0, 5]


def test_document_of_whitespace_is_one_sentence(trained):
    doc = trained(Doc(trained.vocab, [" ", "\n", " "]))
    assert [(token.head.i, token.dep_) for token in doc] == [(0, "ROOT"), (0, "dep"), (0, "dep")]
    assert len(list(doc.sents)) == 1


def test_sentence_of_whitespace_stands_alone_where_the_document_says_so(trained):
    doc = trained(Doc(trained.vocab, ["go", " ", "go"], sent_starts=[1, 1, 1]))
    assert [(token.head.i, token.dep_) for token in doc] == [(0, "ROOT"), (1, "ROOT"), (2, "ROOT")]


def test_document_that_leaves_its_first_token_open_starts_a_sentence_after_whitespace(trained):
    words = Doc(trained.vocab, ["go", "they", "bark"])
    cut = words[1:3].as_doc()
    assert cut[0].is_sent_start is None
    space = Doc(trained.vocab, ["  "])
    docs = list(trained.get_pipe("torch_parser").pipe([space, cut]))
    assert [[token.head.i for token in doc] for doc in docs] == [[0], [1, 1]]
    assert [[sentence.text for sentence in doc.sents] for doc in docs] == [["  "], ["they bark"]]


def test_long_stretch_without_a_sentence_start_is_cut(trained, monkeypatch):
    monkeypatch.setattr(sentences_module, "LONGEST", 8)
    words = ["him"] * 50
    lengths = [len(sent) for sent in trained(Doc(trained.vocab, words)).sents]
    assert sum(lengths) == 50
    assert max(lengths) <= 8
    forbidden = Doc(trained.vocab, words, sent_starts=[1] + [-1] * 49)
    assert [len(sent) for sent in trained(forbidden).sents] == [50]


def test_document_of_many_thousand_words_is_parsed(trained):
    words = TREES[0][0] * 2000
    doc = trained(Doc(trained.vocab, words))
    roots = [sum(token.head == token for token in sent) for sent in doc.sents]
    assert len(roots) > 1000
    assert set(roots) == {1}


def test_probabilities_are_of_the_arcs_of_the_parse(trained):
    docs = [Doc(trained.vocab, words) for words in (TREES[0][0], [], ["go", " "])]
    found = trained.get_pipe("torch_parser").probabilities(docs)
    pairs = [[(token.i, head.i) for token, head in each.candidates] for each in found]
    assert pairs == [list(enumerate(TREES[0][1])), [], [(0, 0)]]
    assert [max(row, key=row.get) for _, row in found[0]] == TREES[0][2]
    sums = found[0].values.sum(1)
    assert ((sums > 0.5) & (sums <= 1.00001)).all()
    assert all(row["ROOT"] == 0 for (token, head), row in found[0] if token != head)
    assert not docs[0].has_annotation("DEP")


def test_tokens_without_gold_train_nothing():
    nlp = make_nlp()
    train(nlp, steps=0)
    nothing = Example(Doc(nlp.vocab, ["go", "on"]), Doc(nlp.vocab, ["go", "on"]))
    assert losses_of(nlp, nothing) == 0.0


def test_gold_sentences_without_heads_train_the_sentence_starts(trained):
    words = TREES[0][0]
    only_starts = Doc(trained.vocab, words, sent_starts=[1, -1, -1, 1, -1])
    wrong = losses_of(trained, Example(Doc(trained.vocab, words), only_starts))
    right = Doc(trained.vocab, words, sent_starts=[1, -1, 1, -1, -1])
    assert losses_of(trained, Example(Doc(trained.vocab, words), right)) < wrong


def test_partly_parsed_document_is_learned_as_far_as_it_goes():
    nlp = make_nlp()
    # Of "she sees him" only "him" has a head; where sentences start is not known.
    train(nlp, [(["she", "sees", "him"], [0, 1, 1], ["", "", "obj"]), TREES[2]])
    doc = nlp(Doc(nlp.vocab, ["she", "sees", "him"], sent_starts=[1, -1, -1]))
    assert (doc[2].head.i, doc[2].dep_) == (1, "obj")


def test_gold_that_is_no_tree_is_left_out_and_told_once(trained, caplog):
    words = ["she", "sees", "him"]
    circle = make_example(trained, words, [1, 0, 1], ["nsubj", "obj", "obj"])
    with caplog.at_level(logging.WARNING):
        assert losses_of(trained, circle) == 0.0
        assert losses_of(trained, circle, circle) == 0.0
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    expected = (
        "'torch_parser' learns nothing from sentences that are no tree, such as 'she sees him'"
    )
    assert expected in messages[0]
    # The first was one sentence, the second time there were two.
    assert trained.get_pipe("torch_parser").skipped == {"sentences that are no tree": 3}


def test_memory_is_not_quadratic_in_a_document_without_heads(trained, monkeypatch):
    asked: list[int] = []
    score = ArcFactors.score_arcs

    def count(factors, sentences):
        asked.append(sentences.rows.shape[1])
        return score(factors, sentences)

    monkeypatch.setattr(ArcFactors, "score_arcs", count)
    words = ["she"] * 3000
    tagged = Example(Doc(trained.vocab, words), Doc(trained.vocab, words, tags=["X"] * 3000))
    losses_of(trained, tagged, make_example(trained, *TREES[1]))
    assert asked == [5]


def test_long_gold_sentence_trains_sentence_starts_only(monkeypatch):
    nlp = make_nlp()
    train(nlp, steps=0)
    monkeypatch.setattr("spacy_torch.components.gold_parse.LONGEST", 2)
    loss = losses_of(nlp, make_example(nlp, ["she", "sees", "him"], [1, 1, 1], ["a", "ROOT", "b"]))
    starts_only = Doc(nlp.vocab, ["she", "sees", "him"], sent_starts=[1, -1, -1])
    expected = losses_of(nlp, Example(Doc(nlp.vocab, ["she", "sees", "him"]), starts_only))
    assert loss == pytest.approx(expected)


def test_unknown_label_trains_the_arc_alone(trained):
    words, heads, deps = TREES[0]
    renamed = make_example(trained, words, heads, [*deps[:-1], "never-seen"])
    loss = losses_of(trained, renamed)
    assert 0 < loss < losses_of(trained, make_example(trained, words, heads, [*deps[:-1], "det"]))


def test_label_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    train(nlp)
    nlp.get_pipe("torch_parser").add_label("vocative")
    for words, heads, deps in TREES:
        assert parse(nlp, words) == (heads, deps)
    more = [make_example(nlp, *tree) for tree in TREES]
    more.append(make_example(nlp, ["go", "dog"], [0, 0], ["ROOT", "vocative"]))
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(more, sgd=optimizer)
    assert parse(nlp, ["go", "dog"]) == ([0, 0], ["ROOT", "vocative"])


def test_rehearsing_pulls_back_towards_what_was_known():
    nlp = make_nlp()
    train(nlp, steps=20)
    optimizer = nlp.resume_training()
    pipe = nlp.get_pipe("torch_parser")
    module = get_shim(pipe.logits_model).module
    before = module.label_weights.detach().clone()
    module.label_weights.data += 0.1
    examples = [make_example(nlp, *tree) for tree in TREES]
    for _ in range(10):
        nlp.rehearse(examples, sgd=optimizer)
    distance = (module.label_weights.detach() - before).abs().mean()
    assert float(distance) < 0.1


def test_parser_learns_through_a_shared_tok2vec():
    nlp = spacy.blank("en")
    encoder = {**ENCODER, "width": 32}
    tok2vec = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": encoder}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    behind = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": listener}
    model = {"@architectures": "spacy-torch.BiaffineParser.v1", "encoder": behind}
    nlp.add_pipe("torch_parser", config={"model": model})
    train(nlp, steps=80)
    for words, heads, deps in TREES:
        assert parse(nlp, words) == (heads, deps)
    module = get_shim(nlp.get_pipe("tok2vec").model).module
    before = [parameter.detach().clone() for parameter in module.parameters()]
    nlp.update([make_example(nlp, *TREES[0])], sgd=nlp.resume_training(), drop=0.3)
    moved = [not old.equal(new) for old, new in zip(before, module.parameters(), strict=True)]
    assert any(moved)


def test_examples_without_labels_are_refused():
    nlp = make_nlp()
    plain = Example(Doc(nlp.vocab, ["go"]), Doc(nlp.vocab, ["go"]))
    with pytest.raises(ValueError, match=r"needs at least one label, found none: annotate token.h"):
        nlp.initialize(lambda: [plain])


def test_model_of_another_task_is_refused():
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
    with pytest.raises(ValueError, match=r"needs a model that scores each arc, but .* each token"):
        make_nlp(model=model)


def test_scores_are_those_of_the_stock_parser(trained):
    examples = [make_example(trained, *tree) for tree in TREES]
    scores = trained.evaluate(examples)
    assert (scores["dep_uas"], scores["dep_las"], scores["sents_f"]) == (1.0, 1.0, 1.0)
    numpy.testing.assert_allclose(scores["dep_las_per_type"]["obj"]["f"], 1.0)
