"""The engine `spark`: the same tasks as Arrow batches on a cluster, whose workers read the source and write the parts themselves."""

import contextlib
import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.engine import counted_call
from llmops_preprocess.facts import read_array
from llmops_preprocess.near_duplicates import Positions
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")
R = TypeVar("R")

CONTENT = "content binary"
KEYS = "high long, low long, position long"
KEY_SCHEMA = pa.schema([("high", pa.int64()), ("low", pa.int64()), ("position", pa.int64())])


@contextlib.contextmanager
def spark_engine(config: PreprocessConfig) -> Iterator["Cluster"]:
    """An engine with a session that ends with it."""
    session = open_session(config)
    try:
        yield Cluster(session)
    finally:
        session.stop()


class Cluster:
    """Every task is one of Spark's, so that Spark makes again what a lost worker had and nothing more."""

    def __init__(self, session: "SparkSession") -> None:
        self.session, self.requests, self.shuffle = session, Counter[str](), Shuffling(session)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        if not tasks:
            return
        from pyspark.errors import PySparkException

        rows = self.session.sparkContext.parallelize([(bytearray(pickle.dumps(task)),) for task in tasks], len(tasks))
        frame = self.session.createDataFrame(rows, CONTENT)
        try:
            for row in frame.mapInArrow(partial(run_arrow, function=function), CONTENT).toLocalIterator(prefetchPartitions=True):
                result, sent = pickle.loads(bytes(row.content))
                self.requests += sent
                if isinstance(result, LlmopsError):
                    raise result
                yield result
        except PySparkException as error:
            raise LlmopsError(f"engine spark: a task failed ({error})") from error


class Shuffling:
    """What is equal over all parts, found by Spark's own shuffle: only what is not alone comes to the driver."""

    def __init__(self, session: "SparkSession") -> None:
        self.session = session

    def repeated(self, folder: str, kept: Sequence[int]) -> Positions:
        positions = [values[1:] for values in self.groups(folder, kept, exact_keys)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *positions])

    def shared_buckets(self, folder: str, kept: Sequence[int]) -> tuple[Positions, Positions]:
        found = list(self.groups(folder, kept, band_keys_of))
        empty = np.zeros(0, dtype=np.int64)
        return np.concatenate([empty, *found]), np.repeat(np.arange(len(found)), [len(values) for values in found])

    def groups(self, folder: str, kept: Sequence[int], keys: Callable[[str, int], Iterator[tuple[Any, Any]]]) -> Iterator[Positions]:
        """Positions, in order, of records with an equal key, for each key of more than one."""
        from pyspark.sql import functions

        bounds = np.concatenate([[0], np.cumsum(kept)]).tolist()
        numbers = [(number, bounds[number]) for number in range(len(kept)) if kept[number]]
        if not numbers:
            return
        parts = self.session.createDataFrame(self.session.sparkContext.parallelize(numbers, len(numbers)), "number long, first long")
        frame: DataFrame = parts.mapInArrow(partial(keys_arrow, folder=folder, keys=keys), KEYS)
        together = frame.groupBy("high", "low").agg(functions.collect_list("position").alias("positions"))
        for row in together.where(functions.size("positions") > 1).toLocalIterator(prefetchPartitions=True):
            yield np.sort(np.array(row.positions, dtype=np.int64))


def run_arrow(batches: Iterator[pa.RecordBatch], function: Callable[[Any], Any]) -> Iterator[pa.RecordBatch]:
    """What a worker does: each row of an Arrow batch is a task; what the user can mend comes back as a result."""
    for batch in batches:
        for content in batch.column(0).to_pylist():
            try:
                result = counted_call(function, pickle.loads(content))
            except LlmopsError as error:
                result = (error, Counter())
            yield pa.RecordBatch.from_arrays([pa.array([pickle.dumps(result)], pa.binary())], names=["content"])


def keys_arrow(
    batches: Iterator[pa.RecordBatch], folder: str, keys: Callable[[str, int], Iterator[tuple[Any, Any]]]
) -> Iterator[pa.RecordBatch]:
    """The keys of the records of parts, with their positions."""
    for batch in batches:
        for number, first in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            for high, low in keys(folder, number):
                columns = [np.ascontiguousarray(high).view(np.int64), np.ascontiguousarray(low).view(np.int64), first + np.arange(len(low))]
                yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=KEY_SCHEMA)


def exact_keys(folder: str, number: int) -> Iterator[tuple[Any, Any]]:
    """The two halves of each record's digest."""
    keys = read_array(folder, number, "exact")
    yield keys[:, 0], keys[:, 1]


def band_keys_of(folder: str, number: int) -> Iterator[tuple[Any, Any]]:
    """Number of the band, and each record's key in it."""
    for band, keys in enumerate(read_array(folder, number, "bands")):
        yield np.full(len(keys), band, dtype=np.int64), keys


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
