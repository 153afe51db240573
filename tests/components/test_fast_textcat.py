"""`torch_textcat` with a model that learns each answer at once."""

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
SLOW = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1},
}
POOL = [
    f"{word} {thing}"
    for word in ("good", "great", "bad", "awful", "fine")
    for thing in ("film", "soup", "film again", "soup today")
]
TRAIN = [("good film", "POS"), ("awful soup", "NEG"), ("great soup", "POS"), ("bad film", "NEG")]
MODELS = {"fast": FAST, "pair": {**FAST, "slow": SLOW}}


def make_example(nlp, text, label):
    cats = {"POS": float(label == "POS"), "NEG": float(label == "NEG")}
    return Example.from_dict(nlp.make_doc(text), {"cats": cats})


def make_pipeline(model, factory="torch_textcat", **kwargs):
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe(factory, config={"model": model})
    examples = [make_example(nlp, text, label) for text, label in TRAIN]
    textcat.initialize(lambda: examples, **{"nlp": nlp, "pool": POOL, **kwargs})
    return nlp, textcat, examples


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def read(nlp, texts=("great film", "awful film again", "something else", "")):
    return [doc.cats for doc in nlp.pipe(texts)]


def test_one_update_is_enough_for_answers_seen_once(model):
    nlp, _, examples = make_pipeline(model)
    assert read(nlp, ["great film"]) == [{"POS": 0.5, "NEG": 0.5}]  # examples teach only labels
    nlp.update(examples)
    for text, label in TRAIN:
        assert nlp(text).cats[label] > 0.5


def test_the_order_of_updates_does_not_matter_and_an_answer_can_be_taken_back():
    nlp, textcat, examples = make_pipeline(FAST)
    other, textcat_other, _ = make_pipeline(FAST)
    nlp.update(examples)
    for example in reversed(examples):
        other.update([example])
    wrong = make_example(nlp, "fine soup", "NEG")
    other.update([wrong])
    assert read(other) != read(nlp)
    textcat_other.forget([wrong.reference])
    assert read(other) == read(nlp)
    textcat.forget([nlp.make_doc("never answered")])
    textcat.forget([])
    assert read(other) == read(nlp)


@pytest.mark.parametrize("way", ["bytes", "disk"])
def test_a_session_goes_on_after_saving_and_loading(model, way, tmp_path):
    nlp, _, examples = make_pipeline(model)
    nlp.update(examples[:2])
    if way == "disk":
        nlp.to_disk(tmp_path)
        loaded = spacy.load(tmp_path)
    else:
        loaded = spacy.blank("en")
        loaded.add_pipe("torch_textcat", config={"model": model})
        loaded.from_bytes(nlp.to_bytes())
    assert read(loaded) == read(nlp)
    fast = [pipeline.get_pipe("torch_textcat").logits_model.shims[0] for pipeline in (nlp, loaded)]
    assert [shim.sizes["n_answers"] for shim in fast] == [2, 2]
    nlp.update(examples[2:])
    loaded.update(examples[2:])
    if model is FAST:  # the slow part has dropout, and an optimizer that is not saved
        assert read(loaded) == read(nlp)
    assert [shim.sizes["n_answers"] for shim in fast] == [4, 4]


def test_a_label_added_later_is_learned_from_its_first_answer():
    nlp, textcat, examples = make_pipeline(FAST)
    nlp.update(examples)
    textcat.add_label("ODD")
    odd = Example.from_dict(nlp.make_doc("fine soup today"), {"cats": {"ODD": 1.0}})
    nlp.update([odd])
    assert max(nlp("fine soup today").cats.items(), key=lambda item: item[1])[0] == "ODD"
    assert nlp("great film").cats["POS"] > nlp("great film").cats["ODD"]


def test_answers_about_one_label_leave_the_others_open():
    model = {**FAST, "exclusive_classes": False}
    nlp, textcat, _ = make_pipeline(model, "torch_textcat_multilabel", labels=["POS", "FOOD"])
    nlp.update([Example.from_dict(nlp.make_doc("great soup"), {"cats": {"FOOD": 1.0}})])
    cats = nlp("great soup").cats
    assert cats["FOOD"] > 0.5
    assert cats["POS"] == 0.5
    assert textcat.skipped == {}


def test_training_by_epochs_counts_an_example_once(model):
    nlp, textcat, examples = make_pipeline(model)
    for _ in range(3):
        nlp.update(examples)
    assert textcat.logits_model.shims[0].sizes["n_answers"] == len(examples)


def test_a_model_that_learns_at_once_alone_takes_no_step(monkeypatch):
    nlp, textcat, examples = make_pipeline(FAST)
    _, pair, _ = make_pipeline({**FAST, "slow": SLOW})
    _, slow, _ = make_pipeline(SLOW)
    assert [one.learns_by_gradient for one in (textcat, pair, slow)] == [False, True, True]

    def fail(batch):
        raise AssertionError("nothing is learned by gradient")

    monkeypatch.setattr(textcat.logits_model.shims[0].module, "forward", fail)
    unknown = Example.from_dict(nlp.make_doc("fine film"), {"cats": {"ODD": 1.0}})
    losses = nlp.update([*examples, unknown])
    assert losses == {"torch_textcat": 0.0}
    assert list(textcat.skipped.values()) == [1]  # counted though there is no loss
    monkeypatch.undo()
    for text, label in TRAIN:
        assert nlp(text).cats[label] > 0.5


def test_the_pool_may_be_a_reader_texts_or_documents(tmp_path):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in POOL]
    DocBin(docs=docs).to_disk(tmp_path / "pool.spacy")
    reader = spacy.registry.readers.get("spacy.Corpus.v1")(
        tmp_path / "pool.spacy", gold_preproc=False
    )
    scores = []
    for pool in (POOL, docs, reader, [Example(doc, doc) for doc in docs]):
        nlp, _, examples = make_pipeline(FAST, pool=pool)
        nlp.update(examples)
        scores.append(read(nlp))
    assert scores[1:] == scores[:1] * 3


def test_a_pool_of_something_else_is_refused():
    with pytest.raises(TypeError, match="'torch_textcat': the pool must give Docs.* got a int: 3"):
        make_pipeline(FAST, pool=[3])
    with pytest.raises(TypeError, match="a reader as the pool needs nlp="):
        make_pipeline(FAST, pool=lambda nlp: [], nlp=None)


def test_only_a_fast_model_can_take_an_answer_back():
    nlp, textcat, examples = make_pipeline(SLOW)
    with pytest.raises(TypeError, match="cannot take an answer back, as it learns by gradient"):
        textcat.forget([examples[0].reference])


@pytest.mark.parametrize(
    ("slow", "message"),
    [
        ({**SLOW, "exclusive_classes": False}, "exclusive_classes = true, but its slow part"),
        (
            {
                **SLOW,
                "encoder": {
                    "@torch_encoders": "spacy-torch.FromTok2Vec.v1",
                    "tok2vec": {
                        "@architectures": "spacy.HashEmbedCNN.v2",
                        "width": 16,
                        "depth": 1,
                        "embed_size": 50,
                        "window_size": 1,
                        "maxout_pieces": 2,
                        "subword_features": True,
                        "pretrained_vectors": None,
                    },
                },
            },
            "reads the Thinc tok2vec",
        ),
        (
            {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": SLOW["encoder"]},
            "slow must classify whole documents",
        ),
        (
            {
                "@architectures": "spacy.TextCatBOW.v3",
                "exclusive_classes": True,
                "ngram_size": 1,
                "no_output_layer": False,
                "length": 100,
            },
            "slow must be a classifier of this package",
        ),
    ],
)
def test_a_slow_part_of_the_wrong_kind_is_refused(slow, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_pipeline({**FAST, "slow": slow})


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        make_pipeline({**FAST, "width": 0})


def test_the_stock_component_takes_the_model_and_trains_its_slow_part():
    nlp = spacy.blank("en")
    nlp.add_pipe("textcat", config={"model": MODELS["pair"]})
    examples = [make_example(nlp, text, label) for text, label in TRAIN]
    sgd = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=sgd)
    shim = nlp.get_pipe("textcat").model.get_ref("logits").shims[0]
    assert shim.sizes["n_answers"] == 0
    assert shim.module.slow.output.weight.abs().sum() > 0


def test_a_config_names_the_pool_and_spacy_initializes_with_it(tmp_path):
    nlp, _, examples = make_pipeline(FAST)
    DocBin(docs=[eg.reference for eg in examples]).to_disk(tmp_path / "train.spacy")
    (tmp_path / "pool.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in POOL))
    nlp.config["initialize"]["components"]["torch_textcat"] = {
        "pool": {"@readers": "spacy.JsonlCorpus.v1", "path": str(tmp_path / "pool.jsonl")}
    }
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    expected, _, _ = make_pipeline(FAST)
    expected.update(examples)
    assert read(nlp) == read(expected)


@pytest.mark.parametrize("model", [SLOW, MODELS["pair"]], ids=["slow", "pair"])
def test_draws_differ_by_dropout_and_leave_the_model_as_it_is(model):
    nlp, textcat, examples = make_pipeline(model)
    for _ in range(20):
        nlp.update(examples)
    before = read(nlp)
    docs = [nlp.make_doc(text) for text, _ in TRAIN]
    draws = textcat.draw_probabilities(docs, n_draws=6, drop=0.5)
    assert draws.shape == (6, 4, 2)
    assert draws.sum(axis=2) == pytest.approx(1.0, abs=1e-5)
    assert draws.std(axis=0).max() > 0
    assert read(nlp) == before
    assert not textcat.logits_model.shims[0].module.training
    assert textcat.draw_probabilities([], n_draws=2).shape == (2, 0, 2)


def test_a_thinc_tok2vec_has_no_draws():
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "*"}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": listener}
    textcat = nlp.add_pipe("torch_textcat", config={"model": {**SLOW, "encoder": encoder}})
    examples = [make_example(nlp, text, label) for text, label in TRAIN]
    nlp.initialize(lambda: examples)
    with pytest.raises(TypeError, match="reads a Thinc tok2vec, which cannot be drawn from"):
        textcat.draw_probabilities([examples[0].predicted], n_draws=2)
