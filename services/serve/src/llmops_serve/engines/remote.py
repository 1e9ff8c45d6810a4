"""A model server over HTTP: TGI, vLLM or LMI, on this machine or another."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from llmops_serve.engines.dialect import Dialect
from llmops_serve.engines.engine import EngineError, OverloadError, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.engines.lines import events
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CONNECT_TIMEOUT_S = 5
SILENCE_TIMEOUT_S = 300  # a server that says nothing for longer has lost the request


class RemoteEngine:
    """One server. All methods are called on one event loop."""

    def __init__(self, url: str, dialect: Dialect, max_requests: int, start_timeout_s: float) -> None:
        self.url = url
        self._dialect = dialect
        self._max_requests = max_requests
        self._start_timeout_s = start_timeout_s
        self._session: ClientSession | None = None
        self._num_requests = 0
        self._failure: str | None = None

    async def start(self) -> None:
        """Opens connections as they are needed; asks the server once whether it is well."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        try:
            async with self._session.get(f"{self.url}/health", timeout=aiohttp.ClientTimeout(total=self._start_timeout_s)) as response:
                if response.status != 200:
                    raise LlmopsError(f"{self.url}: is not healthy (/health answers {response.status}); wait until its model is loaded")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LlmopsError(f"{self.url}: cannot be reached ({error or 'timeout'}); start the server, or correct urls=") from error

    def failure(self) -> str | None:
        return self._failure

    def num_requests(self) -> int:
        return self._num_requests

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        import aiohttp

        body = json.dumps(self._dialect.body(prompt, sampling)).encode()
        if self._session is None:
            raise EngineError(f"{self.url}: the engine is not started")
        if self._num_requests >= self._max_requests:
            raise OverloadError(f"{self._max_requests} requests are under way")
        self._num_requests += 1
        try:
            async with self._session.post(self.url + self._dialect.path, data=body, headers=HEADERS) as response:
                await check(response, self.url)
                async with aclosing(translated(events(response.content.iter_any()), self._dialect)) as steps:
                    async for step in steps:
                        self._failure = None
                        yield step
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failure = f"{self.url}: {type(error).__name__}: {error}"
            raise EngineError(self._failure) from error
        finally:
            self._num_requests -= 1

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()


HEADERS = {"content-type": "application/json"}


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


async def check(response: "ClientResponse", url: str) -> None:
    """Raises what a status other than 200 means; the server's words are kept, for they name the option it refuses."""
    if response.status == 200:
        return
    words = reason_of(await response.read())
    if response.status == 429:
        raise OverloadError(f"{url}: {words}")
    if response.status in (400, 413, 422):
        raise UnsupportedError(words)
    raise EngineError(f"{url}: answered {response.status}: {words}")


def reason_of(content: bytes) -> str:
    """The message in an error body: TGI's and LMI's `error`, OpenAI's `error.message`, or the body itself."""
    try:
        tree = json.loads(content)
    except ValueError:
        return content[:200].decode(errors="replace")
    error = tree.get("error", tree.get("message", tree)) if isinstance(tree, dict) else tree
    return str(error.get("message", error) if isinstance(error, dict) else error)
