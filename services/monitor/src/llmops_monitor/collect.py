"""`llmops-monitor collect`: new records of a log, added to the profiles of their windows; what was read is not read again."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from llmops_monitor.config import TrafficWindow
from llmops_monitor.load import BrokenLine, dead_letter, log_files, log_of, matches, records
from llmops_monitor.traffic_config import CollectConfig
from llmops_shared.contracts.document import Contract
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry, exists, join, store_for

if TYPE_CHECKING:
    from llmops_monitor.profile import Profile

logger = logging.getLogger(__name__)

LEDGER = "ledger.json"
LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
MAX_AHEAD = timedelta(minutes=10)
"""A record further in the future has a wrong clock: it must not close the windows of all others."""

MAX_REMEMBERED = 200_000
"""Requests remembered to count a repeat once; repeats come soon after each other, from a retry."""


class Ledger(Contract):
    """How far a log was read. Written last: after a crash the files since the last one are read again, into the windows as they were."""

    file_name: ClassVar[str] = LEDGER

    kind: Literal["ledger"] = "ledger"
    """What this document is."""
    settings: dict[str, object]
    """What the windows were made with; a change of them needs another folder."""
    files: dict[str, int]
    """File to its size when it was read."""
    windows: dict[str, str]
    """Start of a window to the file of its profile."""
    open_since: str
    """Start of the oldest window that still takes records."""
    num_records: int = Field(ge=0)
    """Records in all windows."""
    num_late: int = Field(ge=0)
    """Records that came after their window was closed and are in a later one."""
    num_ahead: int = Field(ge=0)
    """Records left out because their time is in the future."""
    num_broken: int = Field(ge=0)
    """Lines left out."""


def run(config: CollectConfig, now: datetime | None = None) -> Ledger:
    """Reads the files that are new since the last run, each line into exactly one window. Raises LlmopsError for other settings.

    A log file that grew after it was read is refused: our gateway and SageMaker write a file once.
    """
    from llmops_monitor.observe import chunk_texts

    uri = log_of(config.endpoint, config.exchanges)
    place = join(config.out, LEDGER)
    ledger = open_ledger(config, place)
    fresh = new_files(uri, log_files(uri), ledger)
    if not fresh:
        logger.info("nothing new below %s", uri)
        return ledger
    length = LENGTHS[config.window]
    latest = (now or datetime.now(UTC)) + MAX_AHEAD
    counts = {"num_records": 0, "num_late": 0, "num_ahead": 0}
    broken: list[BrokenLine] = []
    pending = Windows(config, ledger, chunk_texts(config.index))
    newest = datetime.fromisoformat(ledger.open_since) if ledger.open_since else None
    floor = newest
    for record in chosen(records(uri, fresh), config, broken):
        if record.time > latest:
            counts["num_ahead"] += 1
            continue
        start = floor_time(record.time, length)
        if floor is not None and start < floor:
            start, counts["num_late"] = floor, counts["num_late"] + 1
        pending.add(start, record)
        counts["num_records"] += 1
        newest = record.time if newest is None or record.time > newest else newest
    windows = pending.write()
    closed = floor_time(newest - timedelta(minutes=config.lateness_minutes), length) if newest else None
    updated = ledger.model_copy(
        update={
            "files": {**ledger.files, **{entry.uri: entry.size_bytes for entry in fresh}},
            "windows": dict(sorted(windows.items())),
            "open_since": "" if closed is None else max(closed, floor or closed).isoformat(),
            "num_broken": ledger.num_broken + len(broken),
            **{name: getattr(ledger, name) + count for name, count in counts.items()},
        }
    )
    if broken:
        store_for(config.out).write(join(config.out, f"dead_letter-{len(ledger.files):06d}.jsonl"), dead_letter(broken))
    store_for(place).write(place, updated.to_json())
    logger.info("added %d records of %d files to %d windows", counts["num_records"], len(fresh), len(pending.touched))
    return updated


def open_ledger(config: CollectConfig, place: str) -> Ledger:
    """The ledger of earlier runs, or an empty one. Raises LlmopsError when it was kept with other settings."""
    settings = config.model_dump(mode="json", exclude={"out", "tracking"})
    if not exists(place):
        return Ledger(settings=settings, files={}, windows={}, open_since="", num_records=0, num_late=0, num_ahead=0, num_broken=0)
    ledger = Ledger.model_validate_json(store_for(place).read(place))
    if ledger.settings != json.loads(json.dumps(settings)):
        changed = [key for key in settings if ledger.settings.get(key) != settings[key]]
        raise LlmopsError(f"{place}: was kept with other settings ({', '.join(changed)}); choose another out=")
    return ledger


def new_files(uri: str, files: list[Entry], ledger: Ledger) -> list[Entry]:
    """The files not read yet. Raises LlmopsError for one that changed its size since, or when there is no file at all."""
    if not files:
        raise LlmopsError(f"{uri}: holds no exchange log (*.jsonl); send requests to the endpoint first, or correct the path")
    for entry in files:
        before = ledger.files.get(entry.uri)
        if before is not None and before != entry.size_bytes:
            raise LlmopsError(
                f"{entry.uri}: changed since it was read ({before} bytes then, {entry.size_bytes} now); write new records to a new file, "
                f"or collect anew into another out="
            )
    return [entry for entry in files if entry.uri not in ledger.files]


def chosen(found: Iterator[Exchange | BrokenLine], config: CollectConfig, broken: list[BrokenLine]) -> Iterator[Exchange]:
    """The exchanges of the variant asked for, each once within a run; broken lines go to `broken`."""
    window, seen = TrafficWindow(variant=config.variant), dict[int, None]()
    for record in found:
        if isinstance(record, BrokenLine):
            broken.append(record)
        elif matches(record, window):
            key = hash((record.request_id, record.variant, record.shadow))
            if key in seen:
                continue
            seen[key] = None
            if len(seen) > MAX_REMEMBERED:
                del seen[next(iter(seen))]
            yield record


def floor_time(moment: datetime, length: timedelta) -> datetime:
    """Start of the window, counted from 1970 in UTC, where no hour is skipped or repeated when clocks change."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // length * length


class Windows:
    """Records that wait to be profiled, and the profiles of their windows."""

    def __init__(self, config: CollectConfig, ledger: Ledger, chunks: dict[str, str]) -> None:
        self._config = config
        self._ledger = ledger
        self._chunks = chunks
        self._waiting: dict[datetime, list[Exchange]] = defaultdict(list)
        self._num_waiting = 0
        self.touched: dict[datetime, Profile] = {}

    def add(self, start: datetime, record: Exchange) -> None:
        """Takes a record; a window's records are profiled as soon as there are enough of them."""
        from llmops_monitor.observe import BLOCK

        self._waiting[start].append(record)
        self._num_waiting += 1
        if self._num_waiting >= BLOCK:  # whatever the number of windows, no more than a block waits
            self._profile(max(self._waiting, key=lambda waiting: len(self._waiting[waiting])))

    def _profile(self, start: datetime) -> None:
        from llmops_monitor.profile import from_bytes
        from llmops_monitor.windowed import profile_block

        records = self._waiting.pop(start)
        self._num_waiting -= len(records)
        found = profile_block(records, self._chunks, self._config.price)
        before = self.touched.get(start)
        if before is None and (name := self._ledger.windows.get(start.isoformat())) is not None:
            place = join(self._config.out, name)
            before = from_bytes(store_for(place).read(place), place)
        self.touched[start] = found if before is None else before.merge(found)

    def write(self) -> dict[str, str]:
        """Writes every window that grew under a new name, so that a crash leaves the old ones whole; returns all windows."""
        for start in list(self._waiting):
            self._profile(start)
        windows = dict(self._ledger.windows)
        for start, profile in self.touched.items():
            name = f"windows/{start:%Y%m%dT%H%M}-{profile.num_rows}.npz"
            store_for(self._config.out).write(join(self._config.out, name), profile.to_bytes())
            windows[start.isoformat()] = name
        return windows
