"""Copies of requests on their way to the shadow variant: never waited for by a live answer, dropped when there are too many."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from llmops_serve.metrics import Metrics

logger = logging.getLogger(__name__)

Copy = Callable[[], Awaitable[None]]
"""Asks the shadow variant and records its answer."""

MOST_BUSY = 0.4
"""Share of its time that the event loop may work while copies are begun; above it, live requests would wait for them."""
LOOK_EVERY_S = 0.01
APART_S = 0.002
"""Between the beginnings of two copies, each of which takes some tenths of a millisecond."""


class Spare:
    """Whether the event loop has time to spare, by the CPU time of its thread."""

    def __init__(self) -> None:
        self._wall, self._cpu, self._is_busy = 0.0, 0.0, False

    def is_busy(self) -> bool:
        """As of the last hundredth of a second."""
        wall = time.perf_counter()
        past = wall - self._wall
        if past >= LOOK_EVERY_S:
            cpu = time.thread_time()
            # a look long ago tells nothing of now
            self._is_busy = past < 10 * LOOK_EVERY_S and (cpu - self._cpu) / past > MOST_BUSY
            self._wall, self._cpu = wall, cpu
        return self._is_busy


class ShadowQueue:
    """A bounded queue and the tasks that answer from it."""

    def __init__(self, max_waiting: int, metrics: Metrics) -> None:
        self._waiting: asyncio.Queue[Copy] = asyncio.Queue(max_waiting)
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics = metrics
        self._num_under_way = 0
        self._spare, self._turn = Spare(), asyncio.Lock()
        self._is_closing = False
        self.num_dropped = 0

    def start(self, num_tasks: int) -> None:
        """Begins to answer, that many copies at a time."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(num_tasks)]

    def put(self, copy: Copy) -> None:
        """Takes a copy, or drops and counts it; never waits."""
        if self.has_room():
            self._waiting.put_nowait(copy)

    def has_room(self) -> bool:
        """Whether another copy is taken; counts the one that is not, so that it need not even be made."""
        if not self._waiting.full():
            return True
        self._drop(1)
        return False

    @property
    def num_waiting(self) -> int:
        """Copies not yet begun."""
        return self._waiting.qsize()

    async def close(self, timeout_s: float) -> None:
        """Answers what waits, for a bounded time; the rest is dropped and counted."""
        if self._waiting.qsize():
            logger.info("%d shadow copies wait; up to %g s for them", self._waiting.qsize(), timeout_s)
        self._is_closing = True
        try:
            await asyncio.wait_for(self._waiting.join(), timeout_s)
        except TimeoutError:
            left = self._waiting.qsize() + self._num_under_way
            self._drop(left)
            logger.warning("gave up waiting for the shadow variant: %d copies dropped", left)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _drop(self, number: int) -> None:
        self.num_dropped += number
        self._metrics.count("llmops_shadow_dropped", number)

    async def _work(self) -> None:
        while True:
            copy = await self._waiting.get()
            self._num_under_way += 1
            try:
                async with self._turn:
                    await self._until_there_is_time()
                await copy()
            finally:
                self._num_under_way -= 1
                self._waiting.task_done()

    async def _until_there_is_time(self) -> None:
        """Copies take what live requests leave."""
        await asyncio.sleep(0 if self._is_closing else APART_S)
        while self._spare.is_busy() and not self._is_closing:
            await asyncio.sleep(LOOK_EVERY_S)
