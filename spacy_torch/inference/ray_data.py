"""Annotate a dataset of Ray Data, on actors that load the pipeline once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spacy_torch.inference.annotator import Annotator
from spacy_torch.inference.arrow import annotate_table

if TYPE_CHECKING:
    import pyarrow  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]


def annotate_dataset(
    dataset: ray.data.Dataset, annotator: Annotator, *, workers: int = 2, **options: Any
) -> ray.data.Dataset:
    """The dataset with the columns "doc" and "error", computed when it is consumed.

    The rows may come in another order, so let them have an id. If a worker dies, another one
    does its batch again; a batch that has killed four ends the job.

    Args:
        dataset: its column of texts is `annotator.text`. It is shared out by blocks: one that
            has a single block (`dataset.repartition(...)`) keeps a single worker busy.
        annotator: what annotates; its `batch_size` is the size of a worker's task.
        workers: how many actors. Each takes one CPU, or less where none would be left for the
            tasks that read and write, which would then wait for ever.
        options: for `Dataset.map_batches`, such as `num_gpus=1`.
    """
    from ray.data import ActorPoolStrategy  # pyright: ignore[reportMissingImports]

    settings: dict[str, Any] = {
        "num_cpus": _share_cpus(workers),
        "compute": ActorPoolStrategy(size=workers),
        "batch_size": annotator.batch_size,
        "max_task_retries": 3,
        **options,
    }
    return dataset.map_batches(
        _Worker, fn_constructor_args=(annotator,), batch_format="pyarrow", **settings
    )


def _share_cpus(workers: int) -> float:
    """What each worker may take of the cluster's CPUs if one is to be left, in hundredths."""
    import ray  # pyright: ignore[reportMissingImports]

    left = ray.cluster_resources().get("CPU", 0) - 1
    return min(1.0, max(0, int(100 * left / workers)) / 100)


class _Worker:
    """An actor."""

    def __init__(self, annotator: Annotator) -> None:
        annotator.load()
        self.annotator = annotator

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return annotate_table(table, self.annotator)
