"""What one of several processes trains on, and what all of them must have alike."""

import random

import pytest
import spacy
from spacy.training import Example

from spacy_torch.distributed.world import World
from spacy_torch.training.checkpoint import Checkpoint, CheckpointError
from spacy_torch.training.config_match import plain_config
from spacy_torch.training.interval import Interval
from spacy_torch.training.resumable import Resumable
from spacy_torch.training.trail import Trail
from spacy_torch.training.unsaved import Unsaved

NLP = spacy.blank("en")
EXAMPLES = [Example.from_dict(NLP.make_doc("a " * n), {}) for n in (3, 1, 4, 1, 5, 9, 2, 6)]


class Crowd(World):
    """Several processes, the others of which have what `others` says."""

    others = ()

    def gather(self, value):
        return [value, *self.others]

    def broadcast(self, value):
        return value


def make_run(world=None, *, is_sharded=False, **kwargs):
    world = world or World()
    run = Resumable(output=None, interval=Interval(world=World()), world=world, **kwargs)
    run.state.is_sharded = is_sharded
    return run


def batches_of(run, examples=EXAMPLES):
    return list(run.wrap_batcher(lambda items: iter([items[:5], items[5:]]))(examples))


def lengths(batch):
    return [len(example.predicted) for example in batch]


def make_facts(**facts):
    return {"evaluations": [], "trails": [{}], "config": {}, "start": None, **facts}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_processes_have_slices_of_every_batch(size):
    found = []
    for rank in range(size):
        run = make_run(Crowd(rank, size))
        found.append([lengths(batch) for batch in batches_of(run)])
    for place, whole in enumerate(([1, 1, 3, 4, 5], [2, 6, 9])):
        parts = [batches[place] for batches in found]
        assert sorted(sum(parts, [])) == whole


def test_one_process_has_batches_as_they_are():
    assert [lengths(batch) for batch in batches_of(make_run())] == [[3, 1, 4, 1, 5], [9, 2, 6]]


def test_batches_before_the_checkpoint_are_empty():
    run = make_run(loaded=Checkpoint(make_facts(step=1)))
    assert [lengths(batch) for batch in batches_of(run)] == [[], [9, 2, 6]]


def test_processes_with_the_same_examples_go_on(monkeypatch):
    monkeypatch.setattr(Crowd, "others", ((len(EXAMPLES), Trail().order(EXAMPLES)),))
    assert len(batches_of(make_run(Crowd(0, 2)))) == 2


@pytest.mark.parametrize(
    "others", [EXAMPLES[1:], [*EXAMPLES[1:], EXAMPLES[0]]], ids=["fewer", "another order"]
)
def test_processes_with_other_examples_are_refused(others, monkeypatch):
    monkeypatch.setattr(Crowd, "others", ((len(others), Trail().order(others)),))
    with pytest.raises(ValueError, match=r"different training examples.* \(examples, checksum\)"):
        batches_of(make_run(Crowd(0, 2)))


def test_corpora_in_shards_need_as_many_processes_as_before():
    loaded = Checkpoint(make_facts(step=1, trails=[{}, {}, {}]))
    run = make_run(Crowd(0, 2), loaded=loaded, is_sharded=True)
    nlp = spacy.blank("en")
    run.loaded.facts["config"].update(plain_config(nlp.config.interpolate()))
    set_up = run.wrap_logger(None, when_set_up=lambda nlp: None)
    with pytest.raises(CheckpointError, match=r"of 3 processes .*, these are 2: go on with 3"):
        set_up(nlp, None, None)


def test_pipeline_of_which_nothing_is_trained_is_refused():
    run = make_run()
    run.watch(spacy.blank("en"))
    before_update = run.wrap_before_update(None)
    before_update(spacy.blank("en"), {"step": 0, "epoch": 0})
    run.output = "somewhere"
    with pytest.raises(ValueError, match="no component is trained.*frozen_components"):
        run.write(spacy.blank("en"))


def test_only_the_first_process_logs():
    run = make_run(Crowd(1, 2), is_sharded=True)
    log_step, finish = run.wrap_logger(None, when_set_up=lambda nlp: None)(NLP, None, None)
    assert (log_step({}), finish()) == (None, None)


def test_unsaved_pipeline_is_an_empty_directory(tmp_path):
    for _ in range(2):
        Unsaved(NLP.vocab).to_disk(tmp_path / "model-last")
    assert list((tmp_path / "model-last").iterdir()) == []


def test_random_numbers_of_models_leave_the_data_alone():
    """An update that draws does not change the next shuffle."""
    run = make_run()
    nlp = spacy.blank("en")
    nlp.update = lambda examples, **kwargs: random.random()
    run.watch(nlp)
    run.wrap_before_update(None)(nlp, {"step": 0, "epoch": 0})
    before = random.getstate()
    nlp.update(EXAMPLES[:2])
    assert random.getstate() == before
    run.end()
    assert "update" not in vars(nlp)
