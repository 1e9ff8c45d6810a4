"""The engine `spark`: the same batches and the same row functions, as Arrow batches on a Spark cluster."""

import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmops_preprocess.batches import refine_batch
from llmops_preprocess.config import PreprocessConfig
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "number long, content binary"


def refine_on_spark(batches: Iterable[tuple[int, bytes]], num_batches: int, config: PreprocessConfig) -> Iterator[tuple[int, bytes]]:
    """The refined batches by number, one Spark task each, so that Spark makes again what a lost worker had and nothing more."""
    session = open_session(config)
    try:
        context = session.sparkContext
        rows = context.parallelize(((number, bytearray(content)) for number, content in batches), num_batches)
        frame = session.createDataFrame(rows, SCHEMA)
        settings = config.model_dump_json(exclude_unset=True, exclude={"tracking"})
        refined = frame.mapInArrow(partial(refine_arrow, settings=settings), SCHEMA)
        for row in refined.toLocalIterator(prefetchPartitions=True):
            yield row.number, bytes(row.content)
    finally:
        session.stop()


def refine_arrow(batches: Iterator[Any], settings: str) -> Iterator[Any]:
    """What a worker does: each row of an Arrow batch is a batch of ours."""
    config = PreprocessConfig.model_validate_json(settings)
    for batch in batches:
        for number, content in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            columns = [pa.array([number], pa.int64()), pa.array([refine_batch(content, config)], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["number", "content"])


def open_session(config: PreprocessConfig) -> "SparkSession":
    """A session on the cluster of the settings, or the one there is. Raises LlmopsError when Spark is missing or does not answer."""
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise LlmopsError("engine spark: PySpark is not installed; install llmops-preprocess[spark], and Java 17") from error
    builder = SparkSession.builder.appName(f"llmops-preprocess {config.name}").config("spark.ui.enabled", "false")
    if config.spark.master is not None:
        # workers need the very packages that are installed here
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.master(config.spark.master)
    for key, value in config.spark.settings.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise LlmopsError(f"engine spark: no session on {config.spark.master or 'the default master'} ({error})") from error
