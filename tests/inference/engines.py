"""Annotate the same records with one engine, undisturbed and with a worker killed: a program.

Each engine has two workers here. What it printed last is JSON: the rows of both jobs.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiny_annotator import TROUBLES, read_scores, save_pipeline

from spacy_torch import Annotator

Records = list[dict[str, Any]]
Job = Callable[[Records, Annotator], Records]


@contextmanager
def start_ray() -> Iterator[Job]:
    import ray
    from ray.data import DataContext

    from spacy_torch.inference.ray_data import annotate_dataset

    ray.init(
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    DataContext.get_current().enable_progress_bars = False

    def run(records: Records, annotator: Annotator) -> Records:
        dataset = ray.data.from_items(records, override_num_blocks=6)
        return annotate_dataset(dataset, annotator, workers=2).take_all()

    try:
        yield run
    finally:
        ray.shutdown()


@contextmanager
def start_spark() -> Iterator[Job]:
    from pyspark.sql import SparkSession

    from spacy_torch.inference.spark import annotate_dataframe

    session = (
        SparkSession.builder.master("local[2, 4]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")

    def run(records: Records, annotator: Annotator) -> Records:
        frame = session.createDataFrame(records, schema="id long, text string").repartition(6)
        rows = annotate_dataframe(frame, annotator).collect()
        return [row.asDict() for row in rows]

    try:
        yield run
    finally:
        session.stop()


@contextmanager
def start_dask() -> Iterator[Job]:
    import dask.bag
    from distributed import Client, LocalCluster

    from spacy_torch.inference.dask_bag import annotate_bag

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):

        def run(records: Records, annotator: Annotator) -> Records:
            bag = dask.bag.from_sequence(records, npartitions=6)
            return annotate_bag(bag, annotator).compute()

        yield run


@contextmanager
def start_alone() -> Iterator[Job]:
    """One process, this one."""
    yield lambda records, annotator: annotator(records)


STARTS = {"ray": start_ray, "spark": start_spark, "dask": start_dask, "alone": start_alone}


def main(engine: str, pipeline: str, troubles: str) -> None:
    """Run both jobs on the records that come in as JSON.

    Args:
        engine: the name of one.
        pipeline: a folder; the pipeline is made if it is not there.
        troubles: the folder of the component that fails. This process alone is not killed.
    """
    undisturbed, killed = json.load(sys.stdin)
    if not Path(pipeline).exists():
        save_pipeline(Path(pipeline), trouble=Path(troubles))
    if engine == "alone":
        (Path(troubles) / "killed").touch()
    annotator = Annotator(pipeline, batch_size=10, code=TROUBLES)
    with STARTS[engine]() as run:
        found = [run(records, annotator) for records in (undisturbed, killed)]
    print(json.dumps([[_plain(row) for row in rows] for rows in found]))


def _plain(row: dict[str, Any]) -> list[Any]:
    scores = None if row["doc"] is None else read_scores(bytes(row["doc"]))
    return [row["id"], row["text"], scores, row["error"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
