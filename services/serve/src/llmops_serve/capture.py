"""The exchange log: JSON lines in `{year}/{month}/{day}/{hour}/{server start}-{count}.jsonl` below a folder, local or in S3.

Exchanges become lines a few at a time, between requests. Every few seconds the lines become one file, written at once, so that a reader
never sees part of a line.
"""

import asyncio
import contextlib
import io
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from functools import lru_cache

from llmops_serve.sagemaker_capture import capture_line
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError
from llmops_shared.pii import mask
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 5.0
FLUSH_AT_BYTES = 500_000
MOST_BUFFERED_BYTES = 32_000_000  # kept in memory while the folder cannot be written
SLICE = 8  # exchanges made into lines between two looks at the requests: some tenths of a millisecond
AT_A_TIME = 2  # files: both forms are written side by side, for what waits for a slow disk is memory
APART_S = 0.004
"""Exchanges come together for so long: made one after the other, they take half the time that each takes between requests."""

Draft = Callable[[], Exchange]
"""An exchange that is still to be put together."""
Form = tuple[Callable[[Exchange, str], str], Callable[[Exchange], bytes]]
"""Folder of an exchange in an hour, and its line."""


class CaptureLog:
    """Collects exchanges and writes them in the background."""

    def __init__(self, uri: str, server_id: str, mask_pii: bool = True, data_capture: str | None = None) -> None:
        self._server_id = server_id
        self._mask_pii = mask_pii
        self._forms: list[Form] = [(lambda exchange, hour: folder_of_hour(uri, hour), own_line)]
        if data_capture is not None:
            # PREFIX/{endpoint}/{variant}/{hour} (SageMaker developer guide, Capture data)
            self._forms.append((lambda one, hour: folder_of_hour(data_capture, one.endpoint, one.variant, hour), capture_line))
        self._uri = uri
        self._waiting: deque[Draft] = deque()
        self._is_making = False
        self._lines: dict[str, io.BytesIO] = defaultdict(io.BytesIO)
        self._counts: dict[str, int] = defaultdict(int)  # of exchanges; a second form of one is not counted again
        self._size_bytes = 0  # of the lines
        self._files: dict[str, tuple[bytes, int]] = {}  # made, but not written yet: content and exchanges of ours in it
        self._files_bytes = 0
        self._num_files = 0
        self._writing = asyncio.Lock()
        self._full = asyncio.Event()
        self.num_written = 0
        self.num_lost = 0

    def add(self, draft: Draft) -> None:
        """Takes an exchange; never waits."""
        if self._size_bytes + self._files_bytes >= MOST_BUFFERED_BYTES:
            self.num_lost += 1
            return
        self._waiting.append(draft)
        if not self._is_making:
            self._is_making = True
            asyncio.get_running_loop().call_later(APART_S, self._make_some)

    def _make_some(self) -> None:
        """Turns a few exchanges into lines, and comes back when there are more."""
        # a fixed number would fall behind when more answers than that end between two looks
        self._make_first(max(SLICE, len(self._waiting) // 2))
        self._is_making = bool(self._waiting)
        if self._is_making:
            asyncio.get_running_loop().call_later(APART_S, self._make_some)
        if self._size_bytes >= FLUSH_AT_BYTES:
            self._full.set()

    def _make_first(self, number: int) -> None:
        for _ in range(min(number, len(self._waiting))):
            self._make(self._waiting.popleft()())

    def _make(self, exchange: Exchange) -> None:
        kept = masked(exchange) if self._mask_pii else exchange
        hour = hour_of(exchange)
        for form, (folder_of, line_of) in enumerate(self._forms):
            folder, line = folder_of(kept, hour), line_of(kept)
            self._lines[folder].write(line)
            self._counts[folder] += form == 0
            self._size_bytes += len(line)

    async def run(self) -> None:
        """Writes what came together every few seconds, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), FLUSH_EVERY_S)
            self._full.clear()
            if not await self.flush():
                await asyncio.sleep(FLUSH_EVERY_S)

    async def flush(self) -> bool:
        """Writes what is waiting; False when the folder cannot be written, and then it is kept for the next time."""
        async with self._writing:
            if not await self._write_files():  # from before
                return False
            for _ in range(0, len(self._waiting), SLICE):  # those that came before this, and not all at once: requests wait meanwhile
                self._make_first(SLICE)
                await asyncio.sleep(0)
            self._make_files()
            return await self._write_files()

    def _make_files(self) -> None:
        """Makes the lines of each folder the content of one file."""
        lines, counts = self._lines, self._counts
        self._lines, self._counts, self._size_bytes = defaultdict(io.BytesIO), defaultdict(int), 0
        for folder, found in lines.items():
            place = join(folder, f"{self._server_id}-{self._num_files:06d}.jsonl")
            content = found.getvalue()
            self._files[place] = (content, counts[folder])
            self._files_bytes += len(content)
            self._num_files += 1

    async def _write_files(self) -> bool:
        """Writes what is made; False when a folder cannot be written."""
        places = list(self._files)
        for first in range(0, len(places), AT_A_TIME):
            some = places[first : first + AT_A_TIME]
            writes = (asyncio.to_thread(store_for(place).write, place, self._files[place][0]) for place in some)
            for place, failure in zip(some, await asyncio.gather(*writes, return_exceptions=True), strict=True):
                if failure is None:
                    content, number = self._files.pop(place)
                    self._files_bytes -= len(content)
                    self.num_written += number
                elif not isinstance(failure, LlmopsError):
                    raise failure
                else:
                    logger.warning("%d exchanges wait to be written: %s", self.num_waiting, failure)
            if any(place in self._files for place in some):
                return False
        return True

    @property
    def num_waiting(self) -> int:
        """Exchanges that are not written yet."""
        return len(self._waiting) + sum(self._counts.values()) + sum(number for _, number in self._files.values())

    async def close(self) -> None:
        """Writes the rest and says how much there was."""
        if not await self.flush():
            self.num_lost += self.num_waiting
        logger.info("kept %d exchanges in %s%s", self.num_written, self._uri, f", lost {self.num_lost}" if self.num_lost else "")


@lru_cache(maxsize=64)
def folder_of_hour(uri: str, *names: str) -> str:
    """The folder below a URI; the same one for an hour of requests."""
    return join(uri, *names)


def hour_of(exchange: Exchange) -> str:
    """The folder's name for the hour in which a request came."""
    time = exchange.time
    return f"{time.year}/{time.month:02}/{time.day:02}/{time.hour:02}"


def own_line(exchange: Exchange) -> bytes:
    """An exchange as a line of our log."""
    return exchange.__pydantic_serializer__.to_json(exchange) + b"\n"


def masked(exchange: Exchange) -> Exchange:
    """The exchange with personal data and keys masked in all that people or models said; the same one where nothing changes."""
    contents = [mask(message.content) for message in exchange.messages]
    response = mask(exchange.response)
    metadata = {key: mask(value) for key, value in exchange.metadata.items()}
    if response == exchange.response and metadata == exchange.metadata and contents == [message.content for message in exchange.messages]:
        return exchange
    messages = [message.model_copy(update={"content": content}) for message, content in zip(exchange.messages, contents, strict=True)]
    return exchange.model_copy(update={"messages": messages, "response": response, "metadata": metadata})
