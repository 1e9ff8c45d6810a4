"""A model server over HTTP: TGI, vLLM or LMI, on this machine or another."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from llmops_serve.engines.dialect import Dialect
from llmops_serve.engines.engine import EngineError, OverloadError, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.engines.lines import events
from llmops_serve.upstream import Answer, Upstream, UpstreamError
from llmops_shared.errors import LlmopsError


class RemoteEngine:
    """One server. All methods are called on one event loop."""

    def __init__(self, upstream: Upstream, dialect: Dialect, max_requests: int, start_timeout_s: float) -> None:
        self.upstream = upstream
        self._url = upstream.url
        self._dialect = dialect
        self._max_requests = max_requests
        self._start_timeout_s = start_timeout_s
        self._num_requests = 0
        self._failure: str | None = None

    async def start(self) -> None:
        """Asks the server once whether it is well."""
        try:
            async with asyncio.timeout(self._start_timeout_s):
                status = (await self.upstream.fetch("GET", "/health", timeout_s=self._start_timeout_s)).status
        except (UpstreamError, TimeoutError) as error:
            reason = str(error).removeprefix(f"{self._url}: ") or "timeout"
            raise LlmopsError(f"{self._url}: cannot be reached ({reason}); start the server, or correct urls=") from error
        if status != 200:
            raise LlmopsError(f"{self._url}: is not healthy (/health answers {status}); wait until its model is loaded")

    def failure(self) -> str | None:
        return self._failure

    def num_requests(self) -> int:
        return self._num_requests

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        body = json.dumps(self._dialect.body(prompt, sampling)).encode()
        if self._num_requests >= self._max_requests:
            raise OverloadError(f"{self._max_requests} requests are under way")
        self._num_requests += 1
        try:
            answer = await self.upstream.send("POST", self._dialect.path, body)
            await check(answer, self._url)
            async with (
                aclosing(answer.pieces()) as pieces,
                aclosing(events(pieces)) as found,
                aclosing(translated(found, self._dialect)) as steps,
            ):
                async for step in steps:
                    self._failure = None
                    yield step
        except UpstreamError as error:
            self._failure = str(error)
            raise EngineError(self._failure) from error
        finally:
            self._num_requests -= 1

    async def stop(self) -> None:
        self.upstream.close()


async def translated(stream: AsyncIterator[Any], dialect: Dialect) -> AsyncGenerator[Step, None]:
    """The steps of an answer. Raises EngineError when the stream ends before it does."""
    number = 0
    async for event in stream:
        for step in dialect.steps(event, number):
            number += 1
            yield step
            if step.finish is not None:
                return
    raise EngineError("the server's stream ended before the answer did")


async def check(answer: Answer, url: str) -> None:
    """Raises what a status other than 200 means; the server's words are kept, for they name the option it refuses."""
    if answer.status == 200:
        return
    words = reason_of(await answer.read())
    if answer.status == 429:
        raise OverloadError(f"{url}: {words}")
    if answer.status in (400, 413, 422):
        raise UnsupportedError(words)
    raise EngineError(f"{url}: answered {answer.status}: {words}")


def reason_of(content: bytes) -> str:
    """The message in an error body: TGI's and LMI's `error`, OpenAI's `error.message`, or the body itself."""
    try:
        tree = json.loads(content)
    except ValueError:
        return content[:200].decode(errors="replace")
    error = tree.get("error", tree.get("message", tree)) if isinstance(tree, dict) else tree
    return str(error.get("message", error) if isinstance(error, dict) else error)
