import logging

import numpy
import pytest
import spacy
import torch
from images import as_bytes, draw_patterns
from spacy.training import Example
from tiny_boxes import FAST, LABELS, SIDE, make_example, make_examples, make_nlp

from spacy_torch.bridge.model import get_shim
from spacy_torch.components.object_detector import ObjectDetectorPipe
from spacy_torch.features.boxes import Box, get_boxes, set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture


def make_ready(**config):
    """A detector that knows its labels, and pictures without any annotation."""
    nlp = make_nlp(**config)
    pool = make_examples(nlp, 12, first_seed=50)
    nlp.get_pipe("torch_object_detector").initialize(lambda: pool, nlp=nlp, labels=LABELS)
    return nlp, nlp.get_pipe("torch_object_detector")


def module_of(pipe):
    return get_shim(pipe.logits_model).module


def found_by(pipe, examples):
    docs = [eg.predicted for eg in examples]
    return [[(box.label, box.x, box.y, box.score) for box in pipe(doc)._.boxes] for doc in docs]


def learned(pipe):
    return {name: value.clone() for name, value in module_of(pipe).fast.state_dict().items()}


def assert_alike(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_five_pictures_are_enough_for_useful_answers():
    nlp, _ = make_ready()
    nlp.update(make_examples(nlp, 5), sgd=nlp.create_optimizer())
    scores = nlp.evaluate(make_examples(nlp, 10, first_seed=100))
    assert scores["box_map50"] > 0.9


def test_one_box_is_enough_to_find_its_like():
    nlp, pipe = make_ready(**FAST)
    example = make_example(nlp, 0, places=[("down", 10, 20)])
    set_boxes(example.reference, get_boxes(example.reference), complete=False)
    pipe.update([example])
    doc = pipe(make_example(nlp, 1, places=[("down", 40, 8)]).predicted)
    best = doc._.boxes[0]
    assert best.label == "down"
    assert abs(best.x - 40) + abs(best.y - 8) < 6
    assert best.score > 0.5


def test_probability_of_boxes_is_the_share_that_is_right():
    nlp, pipe = make_ready(**FAST)
    examples = make_examples(nlp, 20)
    pipe.update(examples[:10])
    pipe.update(examples[10:])
    test = make_examples(nlp, 20, first_seed=100)
    total = sum(score for boxes in found_by(pipe, test) for *_, score in boxes)
    n_objects = sum(len(get_boxes(eg.reference)) for eg in test)
    assert total == pytest.approx(n_objects, rel=0.25)


def test_order_of_the_answers_makes_no_difference():
    nlp, pipe = make_ready(**FAST)
    start = nlp.to_bytes()
    examples = make_examples(nlp, 6)
    for example in examples:
        pipe.update([example])
    first = learned(pipe)
    nlp.from_bytes(start)
    pipe.update(examples[::-1])
    assert_alike(first, learned(pipe))


def test_forgotten_picture_never_was():
    nlp, pipe = make_ready(**FAST)
    examples = make_examples(nlp, 4)
    pipe.update(examples[:2])
    before = learned(pipe)
    pipe.update(examples[2:])
    pipe.forget([eg.predicted for eg in examples[2:]])
    assert_alike(before, learned(pipe))


def test_picture_answered_anew_replaces_what_was_answered():
    nlp, pipe = make_ready(**FAST)
    first, second = make_example(nlp, 0, places=[("down", 4, 4)]), make_example(nlp, 1)
    pipe.update([first, second])
    wanted = learned(pipe)
    wrong = Example(first.predicted, first.reference.copy())
    set_boxes(wrong.reference, [Box("across", 40, 40, SIDE, SIDE)])
    pipe.update([wrong])
    assert not torch.equal(module_of(pipe).fast.weight, wanted["weight"])
    pipe.update([first])
    assert_alike(wanted, learned(pipe))


def test_boxes_answered_one_at_a_time_add_up():
    nlp, pipe = make_ready(**FAST)
    example = make_example(nlp, 0, places=[("down", 4, 4), ("across", 40, 30)])
    boxes = get_boxes(example.reference)
    for box in boxes:
        one = Example(example.predicted, example.reference.copy())
        set_boxes(one.reference, [box], complete=False)
        pipe.update([one])
    assert len(module_of(pipe).fast.answers) == 2
    one_by_one = learned(pipe)
    pipe.update([example])
    assert_alike(one_by_one, learned(pipe))


def test_rejected_box_is_found_less_likely():
    nlp, pipe = make_ready(**FAST)
    pipe.update([make_example(nlp, 0, places=[("down", 4, 4)])])
    other = make_example(nlp, 1, places=[("across", 40, 30)])
    set_boxes(other.reference, [], rejected=[Box("down", 40, 30, SIDE, SIDE)], complete=False)

    def chance():
        found = pipe.probabilities([other.predicted])[0]
        near = [box.score for box in found.candidates if abs(box.x - 40) + abs(box.y - 30) < 8]
        return max(near, default=0.0)

    before = chance()
    pipe.update([other])
    assert chance() < before


def test_reference_without_boxes_set_teaches_nothing_and_one_with_none_is_background():
    nlp, pipe = make_ready()
    examples = make_examples(nlp, 3)
    optimizer = nlp.create_optimizer()
    nlp.update(examples, sgd=optimizer)
    unknown = make_example(nlp, 9, places=[("down", 20, 20)])
    unknown.reference.user_data.pop("spacy_torch.boxes")
    assert nlp.update([unknown], sgd=optimizer)["torch_object_detector"] == 0
    empty = make_example(nlp, 10, places=[])
    assert nlp.update([empty], sgd=optimizer)["torch_object_detector"] > 0


def test_session_goes_on_after_loading_as_if_it_had_not_stopped(tmp_path):
    nlp, pipe = make_ready(**FAST)
    examples, test = make_examples(nlp, 6), make_examples(nlp, 4, first_seed=100)
    pipe.update(examples[:3])
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    other = loaded.get_pipe("torch_object_detector")
    assert found_by(other, test) == found_by(pipe, test)
    pipe.update(examples[3:])
    other.update([Example(eg.predicted.copy(), eg.reference) for eg in examples[3:]])
    assert_alike(learned(pipe), learned(other))


def test_label_added_later_is_learned_and_the_others_stay():
    nlp, pipe = make_ready(**FAST)
    pipe.update([make_example(nlp, 0, places=[("down", 4, 4)])])
    before = module_of(pipe).fast.weight.clone()
    pipe.add_label("third")
    assert torch.equal(module_of(pipe).fast.weight[:2], before)
    example = make_example(nlp, 1, places=[("across", 40, 8)])
    set_boxes(example.reference, [Box("third", 40, 8, SIDE, SIDE)])
    pipe.update([example])
    assert (
        pipe(make_example(nlp, 2, places=[("across", 10, 30)]).predicted)._.boxes[0].label
        == "third"
    )


def test_boxes_are_in_pixels_of_the_original_whatever_its_shape():
    nlp, pipe = make_ready(**FAST)
    pipe.update(make_examples(nlp, 6))
    wide = numpy.full((128, 256, 3), 100, dtype="uint8")
    pattern = draw_patterns(("down", 0, 0), seed=0, side=16)[:16, :16]
    wide[32:96, 160:224] = pattern.repeat(4, 0).repeat(4, 1)  # 16 pixels of the square of 64
    best = pipe(make_image_doc(nlp.vocab, Picture.from_source(wide)))._.boxes[0]
    numpy.testing.assert_allclose(
        [best.x, best.y, best.width, best.height], [160, 32, 64, 64], atol=24
    )


def test_boxes_that_cannot_be_learned_are_counted_and_named(caplog):
    nlp, pipe = make_ready(**FAST)
    example = make_example(nlp, 0, places=[("down", 4, 4)])
    strange = [Box("other", 4, 4, 9, 9), Box("down", 200, 4, 9, 9), Box("down", 4, 4, 0.5, 9)]
    set_boxes(example.reference, [*get_boxes(example.reference), *strange])
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        pipe.update([example])
    assert sorted(pipe.skipped.values()) == [1, 2]
    assert "add_label('other')" in caplog.text
    assert "too small to be seen" in caplog.text
    assert len(module_of(pipe).fast.answers) == 1


def test_damaged_picture_goes_to_the_error_handler_and_costs_no_other():
    nlp, _ = make_ready(**FAST)
    picture = as_bytes(draw_patterns(("down", 4, 4), seed=0))
    docs = [
        make_image_doc(nlp.vocab, Picture.from_source(data)) for data in (picture, picture[:90])
    ]
    errors = []
    nlp.set_error_handler(lambda name, proc, docs, error: errors.append((name, len(docs))))
    assert len(list(nlp.pipe([docs[0], docs[1], docs[0].copy()]))) == 2
    assert errors == [("torch_object_detector", 1)]


def test_probabilities_have_a_row_for_each_of_the_likeliest_boxes():
    nlp, pipe = make_ready(**FAST)
    pipe.update(make_examples(nlp, 5))
    doc = make_example(nlp, 100).predicted
    found = pipe.probabilities([doc])[0]
    assert found.labels == LABELS
    boxes = pipe(doc)._.boxes
    assert list(boxes) == list(found.candidates)[: len(boxes)]
    assert [box.score for box in boxes] == pytest.approx(found.values.max(1)[: len(boxes)].tolist())


def test_rehearsal_changes_nothing():
    nlp, pipe = make_ready()
    examples = make_examples(nlp, 3)
    nlp.update(examples, sgd=nlp.create_optimizer())
    before = learned(pipe)
    assert pipe.rehearse(examples) == {"torch_object_detector": 0.0}
    assert_alike(before, learned(pipe))


def test_examples_without_any_label_are_refused():
    nlp = make_nlp(**FAST)
    example = make_example(nlp, 0, places=[])
    with pytest.raises(ValueError, match="needs at least one label, found none: call set_boxes"):
        nlp.initialize(lambda: [example])


def test_initialization_without_pictures_is_refused():
    nlp = make_nlp(**FAST)
    with pytest.raises(ValueError, match="there are no pictures to learn from"):
        nlp.get_pipe("torch_object_detector").initialize(
            lambda: make_examples(nlp, 1), nlp=nlp, labels=LABELS, pool=[nlp.make_doc("")]
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"threshold": 1.5}, "threshold must be from 0 to 1, got 1.5"),
        ({"max_boxes": 0}, "max_boxes must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        make_nlp(**config)


def test_model_for_something_else_is_refused():
    textcat = spacy.blank("en").add_pipe("torch_textcat")
    with pytest.raises(ValueError, match="scores each box.*scores each text|needs a model"):
        ObjectDetectorPipe(textcat.vocab, textcat.model, "finder")
