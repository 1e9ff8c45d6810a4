"""What a worker does first: a slice of the source, read and taken through the row stages, a batch at a time, into a part."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from llmops_preprocess.config import JsonLines, PreprocessConfig
from llmops_preprocess.facts import Facts, store_array
from llmops_preprocess.files_config import Files
from llmops_preprocess.parts import PartSummary, RowsFile, dead_letter, part_uri, scratch, write_summary, writing
from llmops_preprocess.python_stdlib import read_library, rejected
from llmops_preprocess.record import Broken, Record, count
from llmops_preprocess.row_stages import row_stages
from llmops_preprocess.slices import Slice
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.store import store_for

BATCH_CHARACTERS = 2_000_000
"""Text in a worker's memory at a time; one document may be longer."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A slice to make a part of."""

    folder: str
    """Where the parts are."""
    number: int
    """Number of the part."""
    pieces: Slice
    """What to read."""
    config: PreprocessConfig
    """How."""


def read_part(task: ReadTask) -> PartSummary:
    """Makes the part and returns its summary."""
    reading, facts, counts = Reading(), Facts(), list[list[StageCount]]()
    stages = row_stages(task.config)
    with scratch(task.folder) as place:
        with RowsFile(place / "rows.arrow") as rows, (place / "dead.jsonl").open("wb") as dead:
            for records in batched(reading.wanted(read_items(task), dead, place)):
                kept, made = records, []
                for stage in stages:
                    kept, of_stage = stage(kept)
                    made.append(of_stage)
                counts.append(made)
                rows.write(kept)
                facts.add(kept, task.config.near_duplicates)
        facts.write(task.folder, task.number, place)
        store_array(part_uri(task.folder, task.number, "digests.npy"), np.frombuffer(bytes(reading.digests), np.uint8), place)
        files = {"rows.arrow": "rows.arrow"} | ({"dead.jsonl": "dead.jsonl"} if reading.num_broken else {})
        for name in files:
            uri = part_uri(task.folder, task.number, name)
            store_for(uri).write(uri, place / name)
    summary = reading.summary(len(facts.places), sum_counts(counts))
    write_summary(part_uri(task.folder, task.number, "json"), summary)
    return summary


class Reading:
    """What was read so far, counted."""

    def __init__(self) -> None:
        self.num_records = self.num_broken = self.num_wanted = 0
        self.first_broken: Broken | None = None
        self.dropped, self.seen, self.digests = Counter[str](), set[str](), bytearray()

    def wanted(self, items: Iterator[Record | Broken], dead: BinaryIO, place: Path) -> Iterator[Record]:
        """The records to go on with; broken ones become dead letters."""
        for item in items:
            self.num_records += 1
            said = item.reason if isinstance(item, Broken) else item.text
            self.digests += hashlib.sha256(f"{item.source}\0{said}".encode("utf-8", "surrogatepass")).digest()[:16]
            if isinstance(item, Broken):
                self.num_broken += 1
                self.dropped["broken"] += 1
                self.first_broken = self.first_broken or item
                with writing(place):
                    dead.write(dead_letter(item))
                continue
            why = rejected(item, self.seen) if item.definition is not None else unwanted(item)
            if why is None:
                self.num_wanted += 1
                yield item
            else:
                self.dropped[why] += 1

    def summary(self, num_kept: int, counts: list[StageCount]) -> PartSummary:
        """Of all that was read."""
        read = count("read", self.num_records, self.num_wanted, self.dropped)
        return PartSummary(self.num_records, self.num_broken, self.first_broken, num_kept, [read, *counts])


def read_items(task: ReadTask) -> Iterator[Record | Broken]:
    """What is in the slice."""
    source = task.config.source
    if isinstance(source, JsonLines):
        from llmops_preprocess.jsonl import read_jsonl

        return read_jsonl(source, task.config.view, task.pieces)
    if isinstance(source, Files):
        from llmops_preprocess.files import page_reader, read_files

        return read_files(source, task.config.view, page_reader(source, task.config.out), task.pieces)
    return read_library()


def unwanted(record: Record) -> str | None:
    """Why a conversation teaches nothing: people were asked, and did not want its answer (KTO's label)."""
    return "unwanted" if record.messages and record.metadata.get("label") == "false" else None


def batched(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Batches of about so many characters; at least one, that every stage may leave its count."""
    batch, size, empty = list[Record](), 0, True
    for record in records:
        batch.append(record)
        size += len(record.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size, empty = [], 0, False
    if batch or empty:
        yield batch


def sum_counts(counts: list[list[StageCount]]) -> list[StageCount]:
    """The counts of every stage over batches."""
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
