"""The exchange log: JSON lines in `{year}/{month}/{day}/{hour}/{server start}-{count}.jsonl` below a folder, local or in S3.

Every few seconds the new lines become one file, written at once, so that a reader never sees part of a line.
"""

import asyncio
import logging
from collections import defaultdict, deque

from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 5.0
MAX_BUFFERED = 20_000  # exchanges kept in memory while the folder cannot be written


class CaptureLog:
    """Collects exchanges and writes them in the background."""

    def __init__(self, uri: str, server_id: str) -> None:
        self._uri = uri
        self._server_id = server_id
        self._waiting: deque[Exchange] = deque()
        self._num_files = 0
        self._writing = asyncio.Lock()
        self.num_written = 0
        self.num_lost = 0

    def add(self, exchange: Exchange) -> None:
        """Takes an exchange; never waits."""
        if len(self._waiting) >= MAX_BUFFERED:
            self._waiting.popleft()
            self.num_lost += 1
        self._waiting.append(exchange)

    async def run(self) -> None:
        """Writes what came together every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> bool:
        """Writes what is waiting; False when the folder cannot be written, and then it is kept for the next time."""
        async with self._writing:
            batch, self._waiting = self._waiting, deque()
            hours: dict[str, list[Exchange]] = defaultdict(list)
            for exchange in batch:
                hours[exchange.time.strftime("%Y/%m/%d/%H")].append(exchange)
            while hours:
                hour, exchanges = next(iter(hours.items()))
                try:
                    await asyncio.to_thread(self._write, hour, exchanges)
                except LlmopsError as error:
                    unwritten = [exchange for exchanges in hours.values() for exchange in exchanges]
                    self._waiting.extendleft(reversed(unwritten))
                    logger.warning("%d exchanges wait to be written: %s", len(self._waiting), error)
                    return False
                del hours[hour]
                self.num_written += len(exchanges)
            return True

    def _write(self, hour: str, exchanges: list[Exchange]) -> None:
        place = join(self._uri, hour, f"{self._server_id}-{self._num_files:06d}.jsonl")
        lines = b"".join(exchange.model_dump_json().encode() + b"\n" for exchange in exchanges)
        store_for(place).write(place, lines)
        self._num_files += 1

    async def close(self) -> None:
        """Writes the rest and says how much there was."""
        if not await self.flush():
            self.num_lost += len(self._waiting)
        logger.info("kept %d exchanges in %s%s", self.num_written, self._uri, f", lost {self.num_lost}" if self.num_lost else "")
