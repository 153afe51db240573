"""Annotate a data frame of Spark, on its Python workers, each of which loads the pipeline once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from spacy_torch.inference.annotator import Annotator
from spacy_torch.inference.arrow import annotate_table, check_columns

if TYPE_CHECKING:
    import pyarrow  # pyright: ignore[reportMissingImports]
    from pyspark.sql import DataFrame  # pyright: ignore[reportMissingImports]


def annotate_dataframe(frame: DataFrame, annotator: Annotator) -> DataFrame:
    """The data frame with the columns "doc" and "error", computed when it is consumed.

    It is shared out by partitions (`frame.repartition(...)`). If a worker dies, Spark does its
    partition again, as often as `spark.task.maxFailures` says: `local[2, 4]` where the master is
    this machine.

    Args:
        frame: its column of texts is `annotator.text`.
        annotator: what annotates. How many rows a worker gets at a time is
            `spark.sql.execution.arrow.maxRecordsPerBatch`.

    Raises:
        ValueError: the frame has neither a column of texts nor one of documents.
    """
    from pyspark.sql.types import (  # pyright: ignore[reportMissingImports]
        BinaryType,
        StringType,
        StructField,
        StructType,
    )

    check_columns(frame.columns, annotator)
    kept = [column for column in frame.schema.fields if column.name not in ("doc", "error")]
    added = [StructField("doc", BinaryType()), StructField("error", StringType())]
    schema = StructType([*kept, *added])
    return frame.mapInArrow(partial(_annotate_batches, annotator=annotator), schema)


def _annotate_batches(
    batches: Iterable[pyarrow.RecordBatch], annotator: Annotator
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow  # pyright: ignore[reportMissingImports]

    for batch in batches:
        yield from annotate_table(pyarrow.Table.from_batches([batch]), annotator).to_batches()
