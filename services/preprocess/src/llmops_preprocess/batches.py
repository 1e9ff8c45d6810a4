"""The row stages over batches of records: cut, refined by an engine, kept as parts so that a killed run goes on, joined in order.

A part is the batch after all row stages with its counts. It is written whole under a name made of settings, source and number;
a run that finds it there does not make it again. Parts go when the dataset is written.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.record import Record
from llmops_preprocess.row_stages import row_stages
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)

PARTS = "parts"
"""Folder of the parts, below the dataset's."""


@dataclass(frozen=True, slots=True)
class Refined:
    """A batch after the row stages."""

    records: list[Record]
    """What is left of it."""
    counts: list[StageCount]
    """A count for every stage."""


RECORDS, REFINED = TypeAdapter(list[Record]), TypeAdapter(Refined)


def refine_records(records: Sequence[Record], config: PreprocessConfig) -> Refined:
    """Runs the row stages over records in this process."""
    kept, counts = list(records), []
    for stage in row_stages(config):
        kept, count = stage(kept)
        counts.append(count)
    return Refined(kept, counts)


def refine_batch(records: bytes, config: PreprocessConfig) -> bytes:
    """The same as bytes, JSON in and out: what engines send to and get from other processes."""
    return REFINED.dump_json(refine_records(RECORDS.validate_json(records), config))


def refine_rows(records: Sequence[Record], config: PreprocessConfig, source_sha256: str) -> Refined:
    """All records through the row stages, in their order, whatever the engine and the number of its workers."""
    batches = cut(records, config.batch_characters)
    if len(batches) <= 1 and config.engine == "local":
        return refine_records(records, config)
    folder = join(config.out, PARTS, parts_key(config, source_sha256))
    store = store_for(folder)
    names = [join(folder, f"{number:06d}.json") for number in range(len(batches))]
    done = {entry.uri for entry in store.entries(folder)}
    todo = [number for number, name in enumerate(names) if name not in done]
    if len(todo) < len(batches):
        logger.info("kept %d of %d parts that an earlier run finished", len(batches) - len(todo), len(batches))
    todo_batches = ((number, RECORDS.dump_json(list(batches[number]))) for number in todo)
    for number, part in run_engine(todo_batches, len(todo), config):
        store.write(names[number], part)
    parts = [REFINED.validate_json(store.read(name)) for name in names]
    return Refined([record for part in parts for record in part.records], sum_counts([part.counts for part in parts]))


def run_engine(batches: Iterable[tuple[int, bytes]], num_batches: int, config: PreprocessConfig) -> Iterator[tuple[int, bytes]]:
    """The refined batches, by their numbers, in the order in which they get done."""
    if num_batches == 0:
        return iter(())
    match config.engine:
        case "local":
            from llmops_preprocess.processes import refine_in_processes

            return refine_in_processes(batches, num_batches, config)
        case "spark":
            from llmops_preprocess.spark import refine_on_spark

            return refine_on_spark(batches, num_batches, config)
        case "glue":
            raise AssertionError("a Glue run is started before anything is read")


def cut(records: Sequence[Record], batch_characters: int) -> list[Sequence[Record]]:
    """Batches of about so many characters; where they are cut depends on the records alone."""
    batches, start, size = list[Sequence[Record]](), 0, 0
    for number, record in enumerate(records, start=1):
        size += len(record.text)
        if size >= batch_characters or number == len(records):
            batches.append(records[start:number])
            start, size = number, 0
    return batches


def parts_key(config: PreprocessConfig, source_sha256: str) -> str:
    """Names the parts of these settings and this source, so that parts of others are never taken for them."""
    settings = config.model_dump_json(exclude={"out", "tracking"})
    return hashlib.sha256(f"{settings}\n{config.batch_characters}\n{source_sha256}".encode()).hexdigest()[:16]


def remove_parts(out: str) -> None:
    """Removes the parts of every attempt."""
    folder = join(out, PARTS)
    if not urlsplit(folder).scheme:
        shutil.rmtree(folder, ignore_errors=True)  # with its folders, which S3 does not have
        return
    store = store_for(folder)
    for entry in store.entries(folder):
        store.remove(entry.uri)


def sum_counts(counts: Sequence[Sequence[StageCount]]) -> list[StageCount]:
    """The counts of many batches, stage by stage, as those of one."""
    return [total(stage) for stage in zip(*counts, strict=True)]


def total(counts: Sequence[StageCount]) -> StageCount:
    """The counts of one stage over parts of the rows, as one."""
    reasons = sorted({reason for count in counts for reason in count.dropped})
    return StageCount(
        stage=counts[0].stage,
        rows_in=sum(count.rows_in for count in counts),
        rows_out=sum(count.rows_out for count in counts),
        dropped={reason: sum(count.dropped.get(reason, 0) for count in counts) for reason in reasons},
    )
