"""A pipeline is driven as an estimator of scikit-learn: by itself, small-text and cleanlab."""

import subprocess
import sys

import numpy as np
import pytest
import spacy
from cleanlab.classification import CleanLearning
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.utils.validation import check_is_fitted
from small_text import BreakingTies, PoolBasedActiveLearner, SklearnClassifier, SklearnDataset

from spacy_torch.annotation.sklearn_adapter import PipelineClassifier

FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
X = np.array(
    [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in ("film", "soup", "day", "hat")],
    dtype=object,
)
Y = np.repeat([1, 0], 16)


def make_config(factory="torch_textcat", model=FAST):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={} if model is None else {"model": model})
    return nlp.config


def make_classifier(**params):
    return PipelineClassifier(make_config(), **{"epochs": 1, **params})


def test_it_needs_no_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import spacy_torch.annotation.sklearn_adapter as adapter\n"
        "adapter.PipelineClassifier({}).get_params()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_are_the_sorted_labels_and_rows_sum_to_one():
    classifier = make_classifier().fit(X[::-1].tolist(), np.where(Y[::-1] == 1, "POS", "NEG"))
    assert classifier.classes_.tolist() == ["NEG", "POS"]
    probabilities = classifier.predict_proba(X.reshape(-1, 1))
    assert probabilities.shape == (32, 2)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (classifier.predict(X) == np.where(probabilities[:, 1] > 0.5, "POS", "NEG")).all()
    assert classifier.score(X, np.where(Y == 1, "POS", "NEG")) == 1.0
    assert classifier.predict_proba([]).shape == (0, 2)


def test_fit_begins_anew_and_partial_fit_goes_on():
    classifier = make_classifier(pool=X.tolist())
    classifier.partial_fit(X[:4], Y[:4], classes=[0, 1])
    classifier.partial_fit(X[16:20], Y[16:20])
    in_parts = classifier.predict_proba(X)
    classifier.fit(X[[0, 1, 2, 3, 16, 17, 18, 19]], Y[[0, 1, 2, 3, 16, 17, 18, 19]])
    # The fast learner knows the set of answers only, not how it came about.
    assert np.array_equal(classifier.predict_proba(X), in_parts)
    classifier.fit(X[:17], 1 - Y[:17])
    assert classifier.predict(X[:1])[0] == 0


@pytest.mark.parametrize(
    ("factory", "model"),
    [
        ("textcat", None),
        ("torch_textcat", None),
    ],
)
def test_stock_and_gradient_learners_are_driven_alike(factory, model):
    classifier = PipelineClassifier(make_config(factory, model), epochs=20)
    assert classifier.fit(X, Y).score(X, Y) >= 0.9


def test_scikit_learn_clones_and_cross_validates_it():
    classifier = make_classifier(drop=0.2)
    assert is_classifier(classifier)
    with pytest.raises(NotFittedError):
        check_is_fitted(classifier)
    copy = clone(classifier).set_params(seed=3)
    assert (copy.get_params()["drop"], copy.seed, classifier.seed) == (0.2, 3, 0)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    assert cross_val_score(classifier, X, Y, cv=folds).mean() >= 0.8
    assert not hasattr(classifier, "nlp_")


def test_cleanlab_finds_wrong_labels_with_it():
    wrong = Y.copy()
    wrong[[2, 20]] = 1 - wrong[[2, 20]]
    found = CleanLearning(make_classifier(), cv_n_folds=4).find_label_issues(X, wrong)
    assert np.flatnonzero(found["is_label_issue"]).tolist() == [2, 20]


class Factory:
    """What small-text makes a new classifier with."""

    def new(self):
        return SklearnClassifier(make_classifier(pool=X.tolist()), 2)


# small-text's own.
@pytest.mark.filterwarnings("ignore:The function get_flattened_unique_labels:DeprecationWarning")
def test_small_text_asks_and_learns_with_it():
    dataset = SklearnDataset(X, Y, target_labels=np.array([0, 1]))
    learner = PoolBasedActiveLearner(Factory(), BreakingTies(), dataset)
    learner.initialize_data(np.array([0, 16]), Y[[0, 16]])
    for _ in range(4):
        asked = learner.query(num_samples=4)
        learner.update(Y[asked])
    assert (learner.classifier.predict(dataset) == Y).mean() >= 0.9


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda c: c.fit(X[:4], Y[:4]), r"at least 2 labels, got \[1\]"),
        (lambda c: c.fit(X, Y[:4]), "got 32 texts and 4 labels"),
        (lambda c: c.fit(X, Y, sample_weight=Y), "sample_weight must be None"),
        (lambda c: c.fit("good film", [1]), "expected several texts, got one: 'good film'"),
        (lambda c: c.fit([1, 2], [0, 1]), "expected a text or a Doc, got a int: 1"),
        (lambda c: c.fit([["a"], ["b"]], [0, 1]), "expected a text or a Doc, got a list"),
        (lambda c: c.fit(np.array([["a", "b"]]), [0, 1]), r"got an array of the shape \(1, 2\)"),
        (lambda c: c.fit(X, Y).partial_fit(X[:1], [2]), r"got the labels \[2\], but was begun"),
        (lambda c: c.set_params(rate=1), "has no parameter 'rate', only .*'config'"),
        (lambda c: c.set_params(component="ner").fit(X, Y), "no classifier named 'ner' of"),
    ],
)
def test_what_it_cannot_use_is_told(use, message):
    with pytest.raises(ValueError, match=message):
        use(make_classifier())


def test_before_fit_it_cannot_predict():
    with pytest.raises(AttributeError, match="not fitted yet"):
        make_classifier().predict(X)


def test_a_pipeline_without_an_exclusive_classifier_is_refused():
    config = make_config("torch_textcat_multilabel", None)
    with pytest.raises(ValueError, match="has no classifier of .*, only"):
        PipelineClassifier(config).fit(X, Y)
