"""The generations of an endpoint that a server serves: one gets the traffic, earlier ones finish what they have begun."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from llmops_serve.config import RunConfig
from llmops_serve.emf import MetricsLog
from llmops_serve.gateway import Gateway
from llmops_serve.limits import read_keys
from llmops_serve.metrics import Metrics
from llmops_serve.realize import realized
from llmops_shared.contracts import Endpoint
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of

if TYPE_CHECKING:
    from llmops_serve.front import Front

logger = logging.getLogger(__name__)


class Generations:
    """What is served, and how it is replaced."""

    def __init__(self, config: RunConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._leaving: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._side: list[asyncio.Task[None]] = []
        self._log: MetricsLog | None = None
        self.front: Front | None = None

    async def __aenter__(self) -> Self:
        self._stack, self.current = await self._open()
        if self._config.watch_s:
            self._side.append(asyncio.create_task(self._watch()))
        if self._config.metrics_log is not None:
            self._log = MetricsLog(self._config.metrics_log, self.current.endpoint.name, self._metrics)
            self._side.append(asyncio.create_task(self._log.run(self._config.metrics_log_every_s)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in [*self._side, *([self._looking] if self._looking else [])]:
            task.cancel()
        await asyncio.gather(*self._side, *self._leaving, return_exceptions=True)
        await self._stack.aclose()
        if self._log is not None:
            self._log.write()

    async def _open(self) -> tuple[AsyncExitStack, Gateway]:
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(realized(self._config, self._metrics))
            return stack.pop_all(), gateway

    def look(self) -> None:
        """Looks whether the document is another one now, and replaces what is served; on SIGHUP."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._replace(also_keys=True))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._config.watch_s)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._replace(also_keys=False))

    async def _replace(self, also_keys: bool) -> None:
        """Loads the new generation, moves traffic, and lets the earlier one finish. A new one that fails to load changes nothing."""
        assert self.front is not None
        try:
            if also_keys and self._config.keys is not None:
                self.front.keys = read_keys(self._config.keys)
            digest = await asyncio.to_thread(digest_of, self._config.endpoint, Endpoint)
            if digest == self.current.endpoint_sha256:
                return
            stack, gateway = await self._open()
        except LlmopsError as error:
            logger.error("goes on with generation %d: %s", self.current.endpoint.generation, error)
            return
        before, before_stack = self.current, self._stack
        self.current, self._stack, self.front.gateway = gateway, stack, gateway
        logger.info("generation %d gets the traffic; %d requests of generation %d are under way",
                    gateway.endpoint.generation, before.num_open, before.endpoint.generation)  # fmt: skip
        task = asyncio.create_task(self._leave(before, before_stack))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, gateway: Gateway, stack: AsyncExitStack) -> None:
        """Ends a generation when its requests are answered, or its time is over."""
        end = asyncio.get_running_loop().time() + self._config.drain_timeout_s
        while gateway.num_open and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        await stack.aclose()
        logger.info("generation %d is left", gateway.endpoint.generation)
