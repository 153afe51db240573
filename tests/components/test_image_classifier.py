"""`torch_image_classifier` with its default model, and with others that learn at once."""

import pytest
import spacy
from images import random_pixels, write_image
from spacy.training import Example
from tiny_pictures import LABELS, count_right, draw_stripes, make_examples

from spacy_torch.bridge.model import get_shim
from spacy_torch.nn.fast.pool_pictures import PoolPictures

PATCHES = {"@torch_encoders": "spacy-torch.PatchDictionary.v1", "size": 16, "width": 30}
CNN = {"@torch_encoders": "spacy-torch.ImageCNN.v1", "size": 16, "width": 16, "depth": 2}
FAST = {
    "@architectures": "spacy-torch.FastImageClassifier.v1",
    "exclusive_classes": True,
    "width": 32,
    "encoder": PATCHES,
    "slow": None,
}
SLOW = {
    "@architectures": "spacy-torch.ImageClassifier.v1",
    "exclusive_classes": True,
    "encoder": CNN,
}
PAIR = {**FAST, "slow": SLOW}


def make_nlp(model: dict | None = None, factory: str = "torch_image_classifier"):
    nlp = spacy.blank("image")
    nlp.add_pipe(factory, config={} if model is None else {"model": model})
    return nlp


def read(nlp):
    docs = nlp.pipe(eg.predicted for eg in make_examples(nlp, 6, first_seed=500))
    return [doc.cats for doc in docs]


def pool_of(nlp):
    part = get_shim(nlp.get_pipe("torch_image_classifier").logits_model).module.features
    assert isinstance(part, PoolPictures)
    return part


def learn_five(*, first_seed, **kwargs):
    nlp = make_nlp()
    examples = make_examples(nlp, 5, first_seed=first_seed)
    nlp.get_pipe("torch_image_classifier").initialize(lambda: examples, nlp=nlp, **kwargs)
    nlp.update(examples, sgd=nlp.create_optimizer())
    return count_right(nlp)


def test_one_update_with_five_examples_is_useful_by_default():
    assert sum(learn_five(first_seed=50 * n) for n in range(3)) / 3 >= 0.75


def test_pictures_without_labels_make_five_examples_worth_more():
    pool = [eg.predicted for eg in make_examples(make_nlp(), 30, first_seed=5000)]
    assert sum(learn_five(first_seed=50 * n, pool=pool) for n in range(3)) / 3 >= 0.95


def test_several_labels_may_be_true():
    nlp = make_nlp(factory="torch_image_classifier_multilabel")
    examples = make_examples(nlp, 6)
    for example in examples:
        example.reference.cats["striped"] = 1.0
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    assert all(scores["striped"] > 0.5 for scores in read(nlp))
    assert count_right_of_directions(nlp) >= 0.8


def count_right_of_directions(nlp):
    examples = make_examples(nlp, 20, first_seed=1000)
    docs = nlp.pipe(eg.predicted for eg in examples)
    return sum(
        eg.reference.cats[max(LABELS, key=doc.cats.get)]
        for eg, doc in zip(examples, docs, strict=True)
    ) / len(examples)


@pytest.mark.parametrize("model", [FAST, PAIR], ids=["fast", "pair"])
def test_session_goes_on_after_saving(model, tmp_path):
    nlp = make_nlp(model)
    examples = make_examples(nlp, 8)
    nlp.initialize(lambda: examples)
    nlp.update(examples[:4])
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert read(loaded) == read(nlp)
    for each in (nlp, loaded):
        each.update(examples[4:], sgd=False)  # no step of the slow part, whose views are drawn
    assert read(loaded) == [pytest.approx(scores, abs=1e-5) for scores in read(nlp)]


def test_answer_can_be_taken_back_and_their_order_leaves_no_trace():
    first, second = make_nlp(FAST), make_nlp(FAST)
    examples = make_examples(first, 6)
    for nlp in (first, second):
        nlp.initialize(lambda: examples)
    first.update(examples[:5])
    for example in reversed(examples):
        second.update([example])
    assert read(first) != read(second)
    second.get_pipe("torch_image_classifier").forget([examples[5].predicted])
    assert read(first) == read(second)


def test_pool_may_be_documents_examples_paths_or_a_reader(tmp_path):
    arrays = [draw_stripes(label, seed=seed) for seed in range(6) for label in LABELS]
    paths = [write_image(tmp_path / f"{n}.png", array) for n, array in enumerate(arrays)]
    found = []
    for kind in ("docs", "examples", "paths", "reader"):
        nlp = make_nlp(FAST)
        docs = [nlp.make_doc(path) for path in paths]
        pools = {
            "docs": docs,
            "examples": [Example(doc, nlp.make_doc(doc.text)) for doc in docs],
            "paths": paths,
            "reader": lambda nlp: [Example(nlp.make_doc(p), nlp.make_doc(p)) for p in paths],
        }
        examples = make_examples(nlp, 4)
        component = nlp.get_pipe("torch_image_classifier")
        component.initialize(lambda: examples, nlp=nlp, pool=pools[kind])  # noqa: B023
        found.append(pool_of(nlp).weight)
    assert all(bool((weight == found[0]).all()) for weight in found)


def test_without_a_pool_the_pictures_of_the_examples_are_one():
    nlp, other = make_nlp(FAST), make_nlp(FAST)
    examples = make_examples(nlp, 6)
    nlp.initialize(lambda: examples)
    component = other.get_pipe("torch_image_classifier")
    component.initialize(lambda: examples, nlp=other, pool=[eg.predicted for eg in examples])
    assert bool((pool_of(nlp).weight == pool_of(other).weight).all())


def test_damaged_picture_costs_no_other_its_labels(tmp_path):
    nlp = make_nlp(FAST)
    examples = make_examples(nlp, 4)
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    good = write_image(tmp_path / "good.png", random_pixels(16, 16))
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:100])
    with pytest.raises(ValueError, match="bad.png"):
        nlp(str(bad))
    failed = []
    nlp.set_error_handler(lambda name, component, docs, error: failed.extend(docs))
    docs = list(nlp.pipe([str(good), str(bad), str(good)]))
    assert [doc.text for doc in failed] == [str(bad)]
    assert [set(doc.cats) for doc in docs] == [set(LABELS)] * 2
