"""The servers of one variant as one engine: the one that knows the conversation first, another when it fails before its first token."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from llmops_serve.breaker import Breaker
from llmops_serve.engines.engine import Engine, EngineError, OverloadError, Prompt, Sampling, Step
from llmops_serve.upstream import Upstream, UpstreamError
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

PROBE_EVERY_S = 0.5
CROWDED = 1.25
"""A server with this many times the mean load is passed over (Mirrokni et al. 2016, consistent hashing with bounded loads)."""


@dataclass
class Replica:
    """One server."""

    engine: Engine
    upstream: Upstream | None = None
    """Its connections for requests that are handed on as they are; None: a model in this server, or one behind SageMaker."""
    breaker: Breaker = field(default_factory=Breaker)
    num_relayed: int = 0
    """Requests handed on as they are that are under way."""

    @property
    def name(self) -> str:
        """Its address; empty for a model in this server."""
        return self.upstream.url if self.upstream else ""

    def load(self) -> int:
        """Requests under way."""
        return self.engine.num_requests() + self.num_relayed

    def failure(self) -> str | None:
        """Why it cannot answer; what a server on the network said last says little about now, so there its breaker tells."""
        if self.upstream is None:
            return self.engine.failure()
        return f"{self.name} does not answer" if self.breaker.is_open else None


class Replicas:
    """An engine of one or more servers."""

    def __init__(self, replicas: Sequence[Replica], first_token_timeout_s: float) -> None:
        self.replicas = list(replicas)
        self.first_token_timeout_s = first_token_timeout_s
        self._probing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts all; one that answers is enough. Raises LlmopsError when none does."""
        results = await asyncio.gather(*(one.engine.start() for one in self.replicas), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, LlmopsError) or len(errors) == len(results):
                raise error
        for one, result in zip(self.replicas, results, strict=True):
            if isinstance(result, LlmopsError):
                logger.warning("%s; goes on without it until it answers", result)
                while not one.breaker.is_open:
                    one.breaker.failed()
        if any(one.upstream for one in self.replicas):
            self._probing = asyncio.create_task(self._probe())

    async def stop(self) -> None:
        """Ends all."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await asyncio.gather(*(one.engine.stop() for one in self.replicas))
        for one in self.replicas:
            if one.upstream is not None:
                one.upstream.close()

    def failure(self) -> str | None:
        """Why no server can answer; None while one can."""
        failures = [one.failure() for one in self.replicas]
        return None if None in failures else "; ".join(str(failure) for failure in failures)

    def num_requests(self) -> int:
        """Requests under way."""
        return sum(one.load() for one in self.replicas)

    def in_order(self, key: str) -> Iterable[Replica]:
        """The servers to try for a conversation: its own first, so that it finds its prefix cached; crowded and failing ones last."""
        # left alone or not, an only one is the one to try
        return self.replicas if len(self.replicas) == 1 else self._ranked(key)

    def _ranked(self, key: str) -> Iterator[Replica]:
        ranked = sorted(self.replicas, key=lambda one: hashlib.blake2b(f"{key}\0{one.name}".encode(), digest_size=8).digest())
        bound = CROWDED * (self.num_requests() + 1) / len(ranked)
        ranked.sort(key=lambda one: one.load() + 1 > bound)
        left_alone = []
        for one in ranked:
            if one.breaker.allows():
                yield one
            else:
                left_alone.append(one)
        yield from left_alone

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        """The tokens of an answer, from any server."""
        return self.generate_for(prompt.text, prompt, sampling, [])

    async def generate_for(self, key: str, prompt: Prompt, sampling: Sampling, tried: list[str]) -> AsyncGenerator[Step, None]:
        """The tokens of an answer to a conversation; the names of the servers that were asked are added to `tried`.

        A server that fails before its first token is followed by the next one; after it, the answer fails.
        """
        error: EngineError | None = None
        for one in self.in_order(key):
            tried.append(one.name)
            async with aclosing(one.engine.generate(prompt, sampling)) as steps:
                try:
                    async with asyncio.timeout(self.first_token_timeout_s):
                        first = await anext(steps)
                except OverloadError as refusal:
                    error = refusal  # busy is not broken
                    continue
                except EngineError as failure:
                    error = failure
                    one.breaker.failed()
                    continue
                except TimeoutError:
                    error = EngineError(f"no token within {self.first_token_timeout_s:g} s")
                    one.breaker.failed()
                    continue
                one.breaker.succeeded()
                yield first
                async for step in steps:
                    yield step
                return
        assert error is not None
        raise error

    async def _probe(self) -> None:
        """Asks servers that are left alone how they are, so that they come back without a request having to fail."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            for one in self.replicas:
                if one.upstream is None or not one.breaker.is_open:
                    continue
                try:
                    async with asyncio.timeout(2):
                        answer = await one.upstream.send("GET", "/health")
                        healthy = answer.status == 200
                        await answer.read()
                except (UpstreamError, TimeoutError):
                    healthy = False
                if healthy:
                    logger.info("%s answers again", one.name)
                    one.breaker.succeeded()
