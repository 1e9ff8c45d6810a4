"""Sends chat requests with the `openai` client and measures what a user would."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 10


class Request(NamedTuple):
    """One question to ask."""

    request_id: str
    window: str
    row_id: str
    messages: Sequence[Message]
    expected: str
    """The dataset's own answer."""
    max_tokens: int
    retrieval: bool


@dataclass
class Result:
    """What came of a request."""

    request: Request
    response: str = ""
    finish_reason: str | None = None
    num_tokens: int = 0
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    chunk_ids: list[str] = field(default_factory=list)
    num_prompt_tokens: int = 0
    late_ms: float = 0.0
    """How much later it was sent than it was due; 0 for one that was sent when there was room."""
    error: str | None = None


def send_all(
    url: str, requests: Sequence[Request], concurrency: int, timeout_s: float, due_s: Sequence[float] | None = None
) -> list[Result]:
    """Sends all requests in their order: so many at a time, or each when it is due, in seconds from now.

    The results have the same order. Raises LlmopsError when there is no server at the URL.
    """
    return asyncio.run(_send_all(url, requests, concurrency, timeout_s, due_s))


async def _send_all(
    url: str, requests: Sequence[Request], concurrency: int, timeout_s: float, due_s: Sequence[float] | None
) -> list[Result]:
    from openai import APIError, AsyncOpenAI

    results = [Result(request) for request in requests]
    # no retries: a failed request is a finding of the replay, not something to hide
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=timeout_s) as client:
        try:
            model = (await client.models.list()).data[0].id
        except APIError as error:
            raise LlmopsError(
                f"{url}: does not answer as OpenAI's API does ({error.message}); correct url=, or start the server"
            ) from error
        progress = asyncio.create_task(report_progress(results))
        try:
            async with asyncio.TaskGroup() as group:
                if due_s is not None:
                    await ask_when_due(client, model, results, due_s, group)
                else:
                    waiting = iter(results)
                    for _ in range(concurrency):
                        group.create_task(ask_each(client, model, waiting))
        finally:
            progress.cancel()
    return results


async def ask_each(client: "AsyncOpenAI", model: str, waiting: Iterable[Result]) -> None:
    """Takes requests until there are none left."""
    for result in waiting:
        await ask(client, model, result)


async def ask_when_due(
    client: "AsyncOpenAI", model: str, results: Sequence[Result], due_s: Sequence[float], group: asyncio.TaskGroup
) -> None:
    """Sends each request at its time, whatever became of those before it."""
    started = time.perf_counter()
    for result, due in zip(results, due_s, strict=True):
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        result.late_ms = (time.perf_counter() - started - due) * 1000
        group.create_task(ask(client, model, result))


async def ask(client: "AsyncOpenAI", model: str, result: Result) -> None:
    """Sends one request as a stream, greedily, and fills in its result."""
    from openai import APIError

    request, started = result.request, time.perf_counter()
    try:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": message.role, "content": message.content} for message in request.messages],
            max_tokens=request.max_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            metadata={"row_id": request.row_id, "window": request.window},
            extra_body={"retrieval": True} if request.retrieval else {},
            extra_headers={"x-request-id": request.request_id},
        )
        async for chunk in stream:
            if result.first_token_ms is None:
                result.first_token_ms = (time.perf_counter() - started) * 1000
                result.chunk_ids = [one["chunk_id"] for one in (chunk.model_extra or {}).get("retrieval", {}).get("chunks", [])]
            if chunk.usage is not None:
                result.num_tokens = chunk.usage.completion_tokens
                result.num_prompt_tokens = chunk.usage.prompt_tokens
            for choice in chunk.choices:
                result.response += choice.delta.content or ""
                result.finish_reason = choice.finish_reason or result.finish_reason
        if result.finish_reason is None:
            result.error = "the stream ended before the answer did"
    except APIError as error:
        result.error = f"{type(error).__name__}: {error.body or error.message}"  # the body is the server's own words
    result.latency_ms = (time.perf_counter() - started) * 1000


async def report_progress(results: Sequence[Result]) -> None:
    """A line every few seconds: how many are answered, how fast, how long it will take."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        done = sum(result.latency_ms > 0 for result in results)
        rate = done / (time.monotonic() - started)
        left = f"{(len(results) - done) / rate:.0f} s left" if rate else "none answered yet"
        logger.info("%d of %d requests, %.1f a second, %s", done, len(results), rate, left)
