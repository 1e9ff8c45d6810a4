"""Reading exchange logs of our gateway and SageMaker's data capture: JSON lines at any depth below a folder, broken lines set aside."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from llmops_monitor.config import TrafficWindow, Window
from llmops_monitor.sagemaker_capture import CaptureError, exchange_of, is_capture
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry, folder_of, join, relative, store_for

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is broken: SageMaker takes payloads of 25 MB, but a log of one endless line must not fill the memory."""


class BrokenLine(NamedTuple):
    """A line that is no exchange. Its text is left out: it may hold a prompt."""

    file: str
    """File, relative to the log's folder."""
    line_number: int
    """Counts from 1."""
    reason: str
    """What is wrong."""


@dataclass(frozen=True)
class ExchangeLog:
    """All of a log."""

    uri: str
    """Folder it was read from."""
    exchanges: list[Exchange]
    """In order of time, each (request, variant, shadow) once."""
    broken: list[BrokenLine]
    """Lines left out."""
    num_repeats: int
    """Records replaced by a later one of the same request and variant."""


def capture_uri(endpoint_uri: str, endpoint: Endpoint) -> str:
    """The folder of an endpoint's exchange log. Raises LlmopsError when the endpoint keeps none."""
    place = document_uri(endpoint_uri, Endpoint)
    if endpoint.capture is None:
        raise LlmopsError(f"{place}: keeps no exchanges; deploy the endpoint with capture=FOLDER and send it requests")
    return join(folder_of(place), endpoint.capture.uri)


def log_of(endpoint: str | None, exchanges: str | None) -> str:
    """The folder of a log, named by itself or by the endpoint that keeps it."""
    if exchanges is not None:
        return exchanges
    place = document_uri(endpoint or "", Endpoint)
    return capture_uri(place, read_document(place, Endpoint))


def read_log(uri: str) -> ExchangeLog:
    """Reads every `*.jsonl` file below a folder, local or in S3. Raises LlmopsError when there is none."""
    files = log_files(uri)
    if not files:
        raise LlmopsError(f"{uri}: holds no exchange log (*.jsonl); send requests to the endpoint first, or correct the path")
    latest: dict[tuple[str, str, bool], Exchange] = {}
    broken: list[BrokenLine] = []
    num_repeats = 0
    for record in records(uri, files):
        if isinstance(record, BrokenLine):
            broken.append(record)
            continue
        key = (record.request_id, record.variant, record.shadow)
        before = latest.get(key)
        num_repeats += before is not None
        if before is None or record.time >= before.time:
            latest[key] = record
    exchanges = sorted(latest.values(), key=lambda exchange: (exchange.time, exchange.request_id, exchange.variant))
    logger.info("read %d exchanges of %d files below %s", len(exchanges), len(files), uri)
    if broken:
        logger.warning("%d broken lines left out, the first in %s line %d: %s", len(broken), *broken[0])
    return ExchangeLog(uri, exchanges, broken, num_repeats)


def log_files(uri: str) -> list[Entry]:
    """The files of a log; a name that starts with a dot is a file still being written."""
    return [
        entry for entry in store_for(uri).entries(uri) if entry.uri.endswith(".jsonl") and not entry.uri.rpartition("/")[2].startswith(".")
    ]


def records(uri: str, files: Iterable[Entry]) -> Iterator[Exchange | BrokenLine]:
    """Every line of the files, one at a time, as an exchange or as what is wrong with it; at no time more than a line is in memory."""
    store = store_for(uri)
    for entry in files:
        name = relative(entry.uri, uri)
        with store.fetch(entry.uri).open("rb") as file:
            line_number, too_long = 0, False
            while line := file.readline(MAX_LINE_BYTES):
                ended = line.endswith(b"\n")
                if too_long:  # the rest of a line that was given up
                    too_long = not ended
                    continue
                line_number += 1
                if not ended and len(line) == MAX_LINE_BYTES:
                    too_long = True
                    yield BrokenLine(name, line_number, f"is longer than {MAX_LINE_BYTES} bytes")
                elif line.strip():
                    yield read_line(line, entry.uri, name, line_number)


def read_line(line: bytes, file: str, name: str, line_number: int) -> Exchange | BrokenLine:
    """One line, of our gateway or of data capture."""
    try:
        return exchange_of(line, file) if is_capture(line) else Exchange.model_validate_json(line)
    except ValidationError as error:
        return BrokenLine(name, line_number, explain(error))
    except CaptureError as error:
        return BrokenLine(name, line_number, str(error))


def explain(error: ValidationError) -> str:
    """The first fault of a line, without anything of the line's own text, its unknown keys included."""
    first = error.errors(include_input=False)[0]
    field = first["loc"][0] if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return "has a key that an exchange does not have"
    return f"{field}: {first['msg']}" if field in Exchange.model_fields else first["msg"]


def select(log: ExchangeLog, window: Window, role: str) -> list[Exchange]:
    """The exchanges of a window, in order of time. Raises LlmopsError when there is none; `role` is the window's config key."""
    chosen = [exchange for exchange in log.exchanges if matches(exchange, window)]
    if not chosen:
        raise LlmopsError(f"{role}: no exchange in {log.uri} is of {asked(window)}; {overview(log, window)}")
    return chosen


def matches(exchange: Exchange, window: Window) -> bool:
    """Whether every condition of the window holds."""
    if isinstance(window, TrafficWindow) and not (exchange.variant == window.variant if window.variant else not exchange.shadow):
        return False
    return (
        (window.since is None or exchange.time >= window.since)
        and (window.until is None or exchange.time < window.until)
        and all(exchange.metadata.get(key) == value for key, value in window.metadata.items())
        and (window.half is None or half_of(exchange.request_id) == window.half)
    )


def half_of(request_id: str) -> str:
    """`first` or `second`, the same for a request and its shadow copy, on every machine."""
    return "second" if hashlib.sha256(request_id.encode()).digest()[0] & 1 else "first"


def asked(window: Window) -> str:
    """The window's conditions in words."""
    conditions = window.model_dump(mode="json", exclude_defaults=True)
    metadata = [f"metadata.{key}={value}" for key, value in conditions.pop("metadata", {}).items()]
    return ", ".join(metadata + [f"{key}={value}" for key, value in conditions.items()]) or "any time and any metadata"


def overview(log: ExchangeLog, window: Window) -> str:
    """What the log holds, in terms of what was asked."""
    if not log.exchanges:
        return f"it holds no exchange at all ({len(log.broken)} broken lines)"
    first, last = log.exchanges[0].time.isoformat(), log.exchanges[-1].time.isoformat()
    metadata = [
        f"metadata.{key}: {counted(exchange.metadata.get(key, '(none)') for exchange in log.exchanges)}"
        for key in sorted({"window", *window.metadata})
    ]
    variants = f"variant: {counted(exchange.variant for exchange in log.exchanges)}"
    return "; ".join([f"it holds {len(log.exchanges)} exchanges from {first} to {last}", *metadata, variants])


def counted(values: Iterable[str]) -> str:
    """The most frequent values with their counts."""
    counts = Counter(values)
    shown = ", ".join(f"{value} {count}" for value, count in sorted(counts.most_common(8)))
    return shown if len(counts) <= 8 else f"{shown} and {len(counts) - 8} others"


def digest(exchanges: Sequence[Exchange], broken: Sequence[BrokenLine]) -> str:
    """SHA-256 of what a report is made from: it stays the same when exchanges outside its window are added to the log."""
    state = hashlib.sha256()
    for exchange in exchanges:
        state.update(exchange.model_dump_json().encode() + b"\n")
    state.update(dead_letter(broken))
    return state.hexdigest()


def dead_letter(broken: Sequence[BrokenLine]) -> bytes:
    """The broken lines as JSON lines."""
    return "".join(json.dumps(line._asdict()) + "\n" for line in broken).encode()
