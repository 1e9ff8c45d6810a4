"""The exchange log: JSON lines in `{year}/{month}/{day}/{hour}/{server start}-{count}.jsonl` below a folder, local or in S3.

Every few seconds the new lines become one file, written at once, so that a reader never sees part of a line.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable

from llmops_serve.sagemaker_capture import capture_folder, capture_line
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError
from llmops_shared.pii import mask
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 5.0
FLUSH_AT = 2_000  # exchanges, which are some megabytes
MAX_BUFFERED = 20_000  # exchanges kept in memory while the folder cannot be written
SLICE = 16  # exchanges made into lines between two looks at the requests: less than a millisecond


class CaptureLog:
    """Collects exchanges and writes them in the background."""

    def __init__(self, uri: str, server_id: str, mask_pii: bool = True, data_capture: str | None = None) -> None:
        self._server_id = server_id
        self._mask_pii = mask_pii
        self._forms: list[tuple[Callable[[Exchange], str], Callable[[Exchange], bytes]]] = [
            (lambda exchange: join(uri, exchange.time.strftime("%Y/%m/%d/%H")), own_line)
        ]
        if data_capture is not None:
            self._forms.append((lambda exchange: capture_folder(data_capture, exchange), capture_line))
        self._uri = uri
        self._waiting: deque[Exchange] = deque()
        self._files: dict[str, tuple[bytes, int]] = {}  # made, but not written yet: content and exchanges of ours in it
        self._num_files = 0
        self._writing = asyncio.Lock()
        self._full = asyncio.Event()
        self.num_written = 0
        self.num_lost = 0

    def add(self, exchange: Exchange) -> None:
        """Takes an exchange; never waits."""
        if len(self._waiting) + sum(number for _, number in self._files.values()) >= MAX_BUFFERED:
            self.num_lost += 1
            if not self._waiting:
                return
            self._waiting.popleft()
        self._waiting.append(exchange)
        if len(self._waiting) >= FLUSH_AT:
            self._full.set()

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
            while self._files or self._waiting:
                if not self._files:
                    await self._make_files()
                if not await self._write_files():
                    return False
            return True

    async def _write_files(self) -> bool:
        """Writes what is made; False when a folder cannot be written."""
        for place, (content, number) in list(self._files.items()):
            try:
                await asyncio.to_thread(store_for(place).write, place, content)
            except LlmopsError as error:
                logger.warning("%d exchanges wait to be written: %s", self.num_waiting, error)
                return False
            del self._files[place]
            self.num_written += number
        return True

    @property
    def num_waiting(self) -> int:
        """Exchanges that are not written yet."""
        return len(self._waiting) + sum(number for _, number in self._files.values())

    async def _make_files(self) -> None:
        """Turns what is waiting into the contents of files, a few exchanges at a time."""
        batch, self._waiting = self._waiting, deque()
        pieces: dict[str, list[bytes]] = defaultdict(list)
        counts: dict[str, int] = defaultdict(int)
        for index, exchange in enumerate(batch):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            kept = masked(exchange) if self._mask_pii else exchange
            for form, (folder_of, line_of) in enumerate(self._forms):
                folder = folder_of(kept)
                pieces[folder].append(line_of(kept))
                counts[folder] += form == 0
        for folder, lines in pieces.items():
            place = join(folder, f"{self._server_id}-{self._num_files:06d}.jsonl")
            self._files[place] = (b"".join(lines), counts[folder])
            self._num_files += 1

    async def close(self) -> None:
        """Writes the rest and says how much there was."""
        if not await self.flush():
            self.num_lost += self.num_waiting
        logger.info("kept %d exchanges in %s%s", self.num_written, self._uri, f", lost {self.num_lost}" if self.num_lost else "")


def own_line(exchange: Exchange) -> bytes:
    """An exchange as a line of our log."""
    return exchange.model_dump_json().encode() + b"\n"


def masked(exchange: Exchange) -> Exchange:
    """The exchange with personal data and keys masked in all that people or models said."""
    messages = [message.model_copy(update={"content": mask(message.content)}) for message in exchange.messages]
    metadata = {key: mask(value) for key, value in exchange.metadata.items()}
    return exchange.model_copy(update={"messages": messages, "response": mask(exchange.response), "metadata": metadata})
