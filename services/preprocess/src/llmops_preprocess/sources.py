"""Reading a source: records to go on with, broken ones, and the count of both."""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmops_preprocess.config import JsonLines, PreprocessConfig
from llmops_preprocess.files_config import Files
from llmops_preprocess.jsonl import jsonl_digest, read_jsonl
from llmops_preprocess.python_stdlib import LICENCE, library_digest, library_uri, read_library, rejected
from llmops_preprocess.record import Broken, Record, count
from llmops_shared.contracts.dataset import Source, StageCount
from llmops_shared.errors import LlmopsError
from llmops_shared.store import relative

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source held."""

    source: Source
    """Its entry in the manifest."""
    records: list[Record]
    """Records to go on with."""
    broken: list[Broken]
    """Records that could not be read."""
    count: StageCount
    """All of them, counted."""


def source_digest(config: PreprocessConfig) -> str:
    """A digest that changes when the source does. Raises LlmopsError when there is no source."""
    match config.source:
        case JsonLines():
            return jsonl_digest(config.source.uri)
        case Files():
            from llmops_preprocess.files import files_digest

            return files_digest(config.source)
    return library_digest()


def read_source(config: PreprocessConfig) -> Reading:
    """Reads everything."""
    source = config.source
    if isinstance(source, JsonLines):
        items = read_jsonl(source, config.view)
        # as seen from the dataset: no path of this machine gets into it
        uri, licence = relative(source.uri, config.out), source.licence
    elif isinstance(source, Files):
        from llmops_preprocess.files import page_reader, read_files

        items = read_files(source, config.view, page_reader(source, config.out))
        uri, licence = relative(source.uri, config.out), source.licence
    else:
        items = read_library()
        uri, licence = library_uri(), LICENCE
    digest, seen = hashlib.sha256(), set[str]()
    records, broken, dropped = list[Record](), list[Broken](), Counter[str]()
    for item in counted(items):
        digest.update(repr((item.source, item.reason if isinstance(item, Broken) else item.text)).encode())
        if isinstance(item, Broken):
            broken.append(item)
            dropped["broken"] += 1
            continue
        why = rejected(item, seen) if item.definition is not None else unwanted(item)
        if why is None:
            records.append(item)
        else:
            dropped[why] += 1
    entry = Source(uri=uri, kind=source.kind, num_records=len(records) + dropped.total(), sha256=digest.hexdigest(), licence=licence)
    return Reading(entry, records, broken, count("read", entry.num_records, len(records), dropped))


def unwanted(record: Record) -> str | None:
    """Why a conversation teaches nothing: people were asked, and did not want its answer (KTO's label)."""
    return "unwanted" if record.messages and record.metadata.get("label") == "false" else None


def counted(items: Iterator[Record | Broken]) -> Iterator[Record | Broken]:
    """The items, with a line of log every few seconds."""
    started = told = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            logger.info("read %d records, %.0f a second", number, number / (told - started))


def check_broken(reading: Reading, max_bad: float, dead_letter: str) -> None:
    """Raises LlmopsError when more records are broken than allowed, or when there is nothing but broken ones."""
    total, bad = reading.source.num_records, len(reading.broken)
    allowed = int(max_bad * total) if max_bad < 1 else int(max_bad)
    if bad > allowed:
        first = reading.broken[0]
        raise LlmopsError(
            f"source {reading.source.uri}: {bad} of {total} records are broken, max_bad={max_bad:g} allows {allowed}; "
            f"the first is {first.source} line {first.line}: {first.reason}; all are in {dead_letter}: mend them, or raise max_bad"
        )
    if not reading.records:
        raise LlmopsError(f"source {reading.source.uri}: holds no records ({total} read, {bad} broken); name a source with text in it")
