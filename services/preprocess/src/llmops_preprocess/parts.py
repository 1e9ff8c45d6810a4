"""Parts: what one slice of the source became, as files below `parts/` that any worker or later run can read.

A part is written file by file and its summary last: a part with a summary is complete, and a run that finds it does not make it
again. Its name is made of settings and inputs, so that it is never taken for another's. Parts go when the dataset is written.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.record import Broken, Record
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

PARTS = "parts"
"""Folder of the parts, below the dataset's."""
RECORD = TypeAdapter(Record)


@dataclass(frozen=True, slots=True)
class PartSummary:
    """What a part holds."""

    num_records: int
    """Records read, the broken ones included."""
    num_broken: int
    """Of them, those in its dead letters."""
    first_broken: Broken | None
    """The first of these."""
    num_kept: int
    """Records left after the row stages."""
    counts: list[StageCount]
    """Of reading, and of every row stage."""


SUMMARY = TypeAdapter(PartSummary)


def parts_folder(config: PreprocessConfig, inputs: Mapping[str, str]) -> str:
    """Where the parts of these settings and these inputs are."""
    settings = config.model_dump_json(exclude={"out", "tracking"})
    key = hashlib.sha256(f"{settings}\n{config.slice_bytes}\n{json.dumps(inputs, sort_keys=True)}".encode()).hexdigest()[:16]
    return join(config.out, PARTS, key)


def part_uri(folder: str, number: int, name: str) -> str:
    """A file of a part."""
    return join(folder, f"{number:06d}.{name}")


def finished_parts(folder: str, count: int, name: str) -> set[int]:
    """The parts of which there is such a file."""
    there = {entry.uri for entry in store_for(folder).entries(folder)}
    return {number for number in range(count) if part_uri(folder, number, name) in there}


@contextlib.contextmanager
def scratch(folder: str | None = None) -> Iterator[Path]:
    """A folder for files on their way: beside the parts on a disk, where moving costs nothing, in TMPDIR for S3."""
    near = folder if folder is not None and not urlsplit(folder).scheme else None
    with writing(near or tempfile.gettempdir()):
        if near is not None:
            Path(near).mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix="scratch-", dir=near)
    with holder as name:
        yield Path(name)


@contextlib.contextmanager
def writing(place: object) -> Iterator[None]:
    """Turns a full disk and the like into one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (None, errno.ENOENT) and "space" not in reason:
            raise
        raise LlmopsError(f"{place}: cannot be written ({reason}); free the space, or choose another out=") from error


class RowsFile:
    """Records of a part, written a batch at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        text, rest = pa.large_string(), pa.large_binary()
        self.schema = pa.schema([("source", text), ("text", text), ("licence", text), ("metadata", text), ("whole", rest)])
        with writing(path):
            self.sink = path.open("wb")
            self.writer = pa.ipc.new_file(self.sink, self.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def write(self, records: Sequence[Record]) -> None:
        """One batch."""
        import pyarrow as pa

        columns = [
            [record.source for record in records],
            [record.text for record in records],
            [record.licence for record in records],
            [json.dumps(record.metadata, ensure_ascii=False) if record.metadata else "{}" for record in records],
            [None if plain(record) else RECORD.dump_json(record) for record in records],
        ]
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
        with writing(self.path):
            self.writer.write_batch(pa.record_batch(arrays, schema=self.schema))

    def __enter__(self) -> "RowsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self.sink:
            if kind is None:
                with writing(self.path):
                    self.writer.close()


def plain(record: Record) -> bool:
    """Whether the columns say all of it."""
    return record.definition is None and not record.messages and not record.rejected


def read_records(uri: str, wanted: Any = None) -> Iterator[list[tuple[int, Record]]]:
    """(number in the part, record) a batch at a time; of those that are `wanted`, a mask over all numbers."""
    import pyarrow as pa

    with pa.memory_map(str(store_for(uri).fetch(uri))) as source:
        file, first = pa.ipc.open_file(source), 0
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            numbers = range(first, first + batch.num_rows)
            first += batch.num_rows
            if wanted is not None and not wanted[numbers.start : numbers.stop].any():
                continue
            chosen = [number for number in numbers if wanted is None or wanted[number]]
            columns = batch if len(chosen) == len(numbers) else batch.take(pa.array([number - numbers.start for number in chosen]))
            yield list(zip(chosen, map(to_record, *(column.to_pylist() for column in columns.columns)), strict=True))


def to_record(source: str, text: str, licence: str, metadata: str, whole: bytes | None) -> Record:
    """The record of a row."""
    if whole is not None:
        return RECORD.validate_json(whole)
    return Record(source, text, licence, json.loads(metadata) if metadata != "{}" else {})


def write_summary(place: str, summary: PartSummary) -> None:
    """The last act of a part."""
    store_for(place).write(place, SUMMARY.dump_json(summary))


def dead_letter(item: Broken) -> bytes:
    """A line of the dead-letter file."""
    return (json.dumps(asdict(item), ensure_ascii=False) + "\n").encode()


def remove_parts(out: str) -> None:
    """Removes the parts of every attempt; first what says that one is finished, so that after a kill none only seems so."""
    folder = join(out, PARTS)
    store = store_for(folder)
    for entry in sorted(store.entries(folder), key=lambda entry: not entry.uri.endswith(".json")):
        store.remove(entry.uri)
    if not urlsplit(folder).scheme:
        shutil.rmtree(folder, ignore_errors=True)  # the folders, which S3 does not have
