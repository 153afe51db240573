"""A streamed corpus is read once by all ranks together, whatever their shares."""

import random
from pathlib import Path

import pytest
import spacy
from rank_data import find_shard, read_shard
from ranks import run_ranks
from spacy.tokens import DocBin
from spacy.training import Corpus, Example

from spacy_torch.distributed.world import World
from spacy_torch.training.shards import cut_batches, even_out, shard_corpus, share_out


def write_files(folder: Path, sizes: list[int]) -> list[str]:
    """Files of so many texts, each of which is there once; all texts."""
    nlp = spacy.blank("en")
    texts = []
    for file, size in enumerate(sizes):
        own = [f"text {number} of file {file}" for number in range(size)]
        DocBin(docs=[nlp.make_doc(text) for text in own]).to_disk(folder / f"{file}.spacy")
        texts += own
    return texts


def test_files_of_different_sizes_give_as_many_batches_and_every_text_once(tmp_path):
    texts = write_files(tmp_path, [16, 4, 1])
    of_ranks = run_ranks(read_shard, 2, tmp_path, 4)
    # The first rank has the largest and the smallest file, 17 texts in batches of 4, 4, 4, 4 and
    # 1, each but the last in two parts; the second has one batch.
    assert [list(map(len, batches)) for batches in of_ranks] == [
        [2] * 8 + [1],
        [2] * 2 + [0] * 7,
    ]
    assert sorted(text for batches in of_ranks for batch in batches for text in batch) == sorted(
        texts
    )


@pytest.mark.parametrize(
    ("n_files", "limit", "is_shared"), [(3, 0, True), (2, 0, False), (3, 5, False)]
)
def test_fewer_files_than_ranks_or_a_limit_are_not_shared_out(tmp_path, n_files, limit, is_shared):
    write_files(tmp_path, [1] * n_files)
    assert run_ranks(find_shard, 3, tmp_path, limit) == [is_shared] * 3


def test_one_process_and_other_readers_read_everything(tmp_path):
    assert shard_corpus(Corpus(tmp_path), World()) is None
    assert shard_corpus(lambda nlp: [], World(0, 2)) is None
    assert list(even_out([[1], [2]], World())) == [[1], [2]]


def test_a_batch_is_cut_into_parts_that_are_not_empty():
    assert list(cut_batches([[1, 2, 3, 4, 5], [6]], 3)) == [[1, 4], [2, 5], [3], [6]]


def share_lengths(lengths: list[int], n: int) -> list[list[int]]:
    nlp = spacy.blank("en")
    examples = [Example.from_dict(nlp.make_doc("a " * length), {}) for length in lengths]
    return [[len(eg.predicted) for eg in part] for part in share_out(examples, n)]


def test_parts_of_a_batch_have_as_many_words():
    # 9 and 2, then 6 beside 5: every other share of two is less even.
    assert share_lengths([2, 6, 9, 5], 2) == [[9, 2], [6, 5]]
    assert share_lengths([0, 0, 0, 0, 0], 2) == [[0, 0, 0], [0, 0]]
    assert share_lengths([7], 3) == [[7], [], []]
    lengths = random.Random(0).choices(range(60), k=100)
    for n in (2, 3, 5):
        parts = share_lengths(lengths, n)
        assert sorted(sum(parts, [])) == sorted(lengths)
        largest, smallest = (choose(parts, key=weigh) for choose in (max, min))
        # The largest part was the smallest when its last and shortest example came.
        assert weigh(largest) - weigh(smallest) <= min(largest) + 1


def weigh(part: list[int]) -> int:
    return sum(part) + len(part)
