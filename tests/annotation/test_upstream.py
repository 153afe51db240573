"""Components that share a token encoder, or need what others annotate, in the loop."""

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry
from tiny_gold import GOLD, make_data

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.questions import ChoiceQuestions
from spacy_torch.annotation.simulation import Contestant, Protocol, simulate
from spacy_torch.annotation.sklearn_adapter import PipelineClassifier
from spacy_torch.annotation.span_questions import ManualSpanQuestions
from spacy_torch.annotation.upstream import Upstream

WIDTH = 24
STOCK = {
    "@architectures": "spacy.HashEmbedCNN.v2", "width": WIDTH, "depth": 1, "embed_size": 200,
    "window_size": 1, "maxout_pieces": 3, "subword_features": True, "pretrained_vectors": None,
}  # fmt: skip
OURS = {
    "@architectures": "spacy-torch.Tok2Vec.v1",
    "encoder": {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": WIDTH, "depth": 1},
}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
ENCODER = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": LISTENER}
TEXTCAT = {
    "@architectures": "spacy-torch.TextCat.v1", "exclusive_classes": True, "encoder": ENCODER,
}  # fmt: skip
NER = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}
POOL = [gold.task for gold in GOLD]
SETTINGS = Settings(batch=8, epochs=4)
KINDS = {"textcat": ChoiceQuestions, "ner": ManualSpanQuestions}


def reply(task):
    (label,) = next(gold.true for gold in GOLD if gold.key == task["_input_hash"])
    if "options" in task:
        return {**task, "accept": [label], "answer": "accept"}
    start = len(task["text"].split()[0]) + 1
    span = {"start": start, "end": len(task["text"]), "label": label}
    return {**task, "spans": [span], "answer": "accept"}


def make_nlp(shared=STOCK):
    """A classifier and a recognizer that listen to one encoder; the last listener is a tagger."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": shared})
    nlp.add_pipe("torch_textcat", name="textcat", config={"model": TEXTCAT})
    nlp.add_pipe("torch_ner", name="ner", config={"model": NER})
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
    nlp.add_pipe("tagger", config={"model": tagger})
    examples = [
        Example.from_dict(
            nlp.make_doc(f"{word} film"),
            {
                "cats": {"POS": float(label == "POS"), "NEG": float(label == "NEG")},
                "entities": [(len(word) + 1, len(word) + 5, label)],
                "tags": ["ADJ", "NOUN"],
            },
        )
        for word, label in (("good", "POS"), ("bad", "NEG"))
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return nlp, optimizer


def make_learner(name, shared=STOCK, *, freeze=False):
    nlp, optimizer = make_nlp(shared)
    if freeze:
        nlp.config["training"]["frozen_components"] = ["tok2vec"]
    margin = registry.torch_query_strategies.get("spacy-torch.Margin.v1")()
    questions = KINDS[name](nlp, name)
    return ActiveLearner(
        nlp, questions, POOL, strategy=margin, settings=SETTINGS, optimizer=optimizer
    )


def read_vectors(nlp):
    return nlp.get_pipe("tok2vec").predict([nlp.make_doc("good soup")])[0].copy()


@pytest.mark.parametrize("shared", [STOCK, OURS], ids=["stock", "ours"])
@pytest.mark.parametrize("name", ["textcat", "ner"])
def test_a_component_that_listens_learns_and_so_does_the_encoder(name, shared, caplog):
    learner = make_learner(name, shared)
    nlp, before = learner.nlp, read_vectors(learner.nlp)
    order = list(nlp.get_pipe("tok2vec").listening_components)
    for _ in range(5):
        learner.receive([reply(task) for task in learner.ask()])
    assert not np.allclose(read_vectors(nlp), before)
    docs = [nlp(gold.task["text"]) for gold in GOLD]
    found = [
        max(doc.cats, key=doc.cats.get) if name == "textcat" else [ent.label_ for ent in doc.ents]
        for doc in docs
    ]
    wanted = [next(iter(gold.true)) for gold in GOLD]
    wanted = wanted if name == "textcat" else [[label] for label in wanted]
    assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.9
    # The listeners are in their order again, and it was said that the others may suffer.
    assert list(nlp.get_pipe("tok2vec").listening_components) == order
    assert caplog.text.count("'tok2vec' learns with") == 1


@pytest.mark.parametrize("name", ["textcat", "ner"])
def test_questions_rest_on_what_the_pipeline_itself_predicts(name):
    learner = make_learner(name)
    learner.receive([reply(task) for task in learner.ask()])
    component = learner.nlp.get_pipe(name)
    with learner.nlp.select_pipes(disable=[name]):
        doc = learner.nlp("great hat")
    wanted = component.probabilities([doc])[0].values
    (made,) = learner.questions.make_docs([{"text": "great hat"}])
    assert component.probabilities([made])[0].values == pytest.approx(wanted)
    (question,) = learner.score([{"text": "great hat"}])
    likely = wanted[wanted >= 0.05]
    least_sure = likely[abs(likely - 0.5).argmin()]
    assert question.probabilities[-1] == pytest.approx(
        wanted[0, -1] if name == "textcat" else least_sure, abs=1e-4
    )
    # Without the encoder, its listener reads zeros, and all texts are alike.
    blind = component.probabilities([learner.nlp.make_doc("great hat")])[0].values
    assert blind.shape != wanted.shape or not np.allclose(blind, wanted)


def test_a_frozen_encoder_stays_as_it_is_and_is_still_listened_to():
    learner = make_learner("textcat", freeze=True)
    before = read_vectors(learner.nlp)
    for _ in range(4):
        learner.receive([reply(task) for task in learner.ask()])
    assert np.array_equal(read_vectors(learner.nlp), before)
    right = [learner.nlp(gold.task["text"]).cats[next(iter(gold.true))] > 0.5 for gold in GOLD]
    assert np.mean(right) > 0.8


def test_after_an_error_the_listeners_are_all_there_again(monkeypatch):
    nlp, optimizer = make_nlp()
    encoder = nlp.get_pipe("tok2vec")
    before = {name: list(found) for name, found in encoder.listener_map.items()}

    def fail(*args, **kwargs):
        assert list(encoder.listener_map) == ["textcat"]
        raise MemoryError("no room")

    monkeypatch.setattr(nlp, "update", fail)
    with pytest.raises(MemoryError, match="no room"):
        Upstream(nlp, "textcat").update([], sgd=optimizer, drop=0.0)
    assert list(encoder.listener_map.items()) == list(before.items())


@Language.component("tests_shouter", assigns=["doc.spans"])
def shout(doc):
    doc.user_data["is shouted"] = True
    return doc


def test_only_what_a_component_depends_on_is_run_before_it():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("tests_shouter")
    nlp.add_pipe("torch_textcat", name="textcat")
    assert (Upstream(nlp, "textcat").shared, Upstream(nlp, "textcat").annotating) == ([], [])
    (doc,) = Upstream(nlp, "textcat").annotate([nlp.make_doc("Good. Film.")])
    assert not doc.user_data
    nlp.config["training"]["annotating_components"] = ["tests_shouter"]
    upstream = Upstream(nlp, "textcat")
    assert upstream.annotating == ["tests_shouter"]
    (doc,) = upstream.annotate([nlp.make_doc("Good. Film.")])
    assert doc.user_data["is shouted"]
    assert not doc.has_annotation("SENT_START")
    nlp.get_pipe_meta("textcat").requires = ["doc.sents"]
    nlp.get_pipe_meta("sentencizer").assigns = ["doc.sents"]
    assert Upstream(nlp, "textcat").annotating == ["sentencizer", "tests_shouter"]


def test_documents_that_get_lost_on_the_way_are_missed():
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_textcat", name="textcat")

    class Sieve:
        def pipe(self, docs):
            return [doc for doc in docs if len(doc) > 1]

    nlp.add_pipe("tests_shouter", before="textcat")
    nlp.config["training"]["annotating_components"] = ["tests_shouter"]
    upstream = Upstream(nlp, "textcat")
    nlp._components[0] = ("tests_shouter", Sieve())
    with pytest.raises(ValueError, match="of 2 documents 1 came through the pipes before 'text"):
        upstream.annotate([nlp.make_doc("good film"), nlp.make_doc("bad")])


@pytest.mark.parametrize("factory", ["torch_textcat", "textcat"])
def test_a_simulation_of_a_component_that_listens(factory):
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": STOCK})
    stock = {
        "@architectures": "spacy.TextCatReduce.v1", "exclusive_classes": True,
        "use_reduce_first": True, "use_reduce_last": True, "use_reduce_max": True,
        "use_reduce_mean": True, "tok2vec": LISTENER,
    }  # fmt: skip
    model = TEXTCAT if factory == "torch_textcat" else stock
    nlp.add_pipe(factory, name="textcat", config={"model": model})
    random = registry.torch_query_strategies.get("spacy-torch.Random.v1")()
    protocol = Protocol(answers=32, seeds=1, settings=Settings(batch=16, epochs=12, drop=0.0))
    (run,) = simulate(make_data(), [Contestant("a", nlp.config, random)], protocol).runs
    assert run.checkpoints[-1].score > 0.8


def test_an_estimator_of_a_component_that_listens():
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": STOCK})
    nlp.add_pipe("torch_textcat", name="textcat", config={"model": TEXTCAT})
    texts = [gold.task["text"] for gold in GOLD]
    labels = [next(iter(gold.true)) for gold in GOLD]
    model = PipelineClassifier(nlp.config, epochs=20).fit(texts, labels)
    assert model.score(texts, labels) > 0.9
