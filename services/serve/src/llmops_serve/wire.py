"""What all routes share: bodies, TGI's errors, event streams, and clients that go away."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from llmops_serve.arrival import Arrival
from llmops_serve.engines.engine import EngineError, OverloadError, Sampling, Step, UnsupportedError
from llmops_serve.gateway import Gateway
from llmops_serve.job import Ask, RequestError
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499  # nginx's code; nobody is left to read it

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


class DisconnectError(Exception):
    """The client closed the connection before the answer."""


def gateway_of(request: Request) -> Gateway:
    """The gateway that answers this request: of the generation that was served when it came."""
    gateway: Gateway = request.state.gateway
    return gateway


def plain_ask(
    request: Request,
    route: str,
    prompt: str,
    sampling: Sampling,
    max_new_tokens: int | None,
    truncate: int | None = None,
    metadata: dict[str, str] | None = None,
    number: int | None = None,
    user: str | None = None,
) -> Ask:
    """A request with a plain prompt; `number` tells the prompts of one request apart."""
    arrival: Arrival = request.state.arrival
    return Ask(
        request_id=arrival.request_id if number is None else f"{arrival.request_id}-{number}",
        route=route,
        arrived=arrival.arrived,
        time=arrival.time,
        messages=[Message(role="user", content=prompt)],
        is_chat=False,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        truncate=truncate,
        metadata=metadata or {},
        caller=arrival.caller,
        user=user,
    )


async def read_body(request: Request, model: type[B]) -> B:
    """The request's body. Raises RequestError, naming every bad field, or HTTPException when it is too large."""
    return parse(await read_json(request), model)


async def read_json(request: Request) -> Any:
    """The body's JSON, of bounded size."""
    limit: int = request.app.state.max_payload_bytes
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit:
            raise HTTPException(413, f"the body is larger than {limit} bytes")
    try:
        return from_json(bytes(content), allow_inf_nan=False)  # stricter than `json`: no NaN, no half characters, bounded depth
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from error


def parse(tree: Any, model: type[B]) -> B:
    """The body as its model. Raises RequestError."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise RequestError("; ".join(describe(item) for item in error.errors(include_url=False, include_input=False))) from error


def describe(item: Any) -> str:
    """One bad field in words; its value is left out, for it may be a prompt."""
    where = ".".join(str(name) for name in item["loc"])
    reason = str(item["msg"]).removeprefix("Value error, ")
    return f"`{where}`: {reason}" if where else reason


def error_response(status: int, message: str, error_type: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """TGI's error body."""
    return JSONResponse({"error": message, "error_type": error_type}, status, headers)


def refusal(reason: str) -> JSONResponse:
    """A request that cannot be answered as asked."""
    return error_response(422, f"Input validation error: {reason}", "validation")


async def on_error(request: Request, error: Exception) -> Response:
    """The response to an error on the way to an answer, with TGI's codes."""
    match error:
        case RequestError() | UnsupportedError():
            gateway_of(request).metrics.count("tgi_request_failure", error="validation")
            return refusal(str(error))
        case OverloadError():
            gateway_of(request).metrics.count("tgi_request_failure", error="overloaded")
            return error_response(429, "Model is overloaded", "overloaded", {"retry-after": "1"})
        case EngineError() | LlmopsError():
            logger.error("request %s failed: %s", request.state.arrival.request_id, error)
            return error_response(424, f"Request failed during generation: {error}", "generation")
        case HTTPException():
            return error_response(error.status_code, error.detail, "http")
        case _:
            return Response(status_code=CLIENT_CLOSED_REQUEST)


HANDLED: tuple[type[Exception], ...] = (
    RequestError,
    UnsupportedError,
    OverloadError,
    EngineError,
    LlmopsError,
    HTTPException,
    DisconnectError,
)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; cancels it and raises DisconnectError when the client closes the connection meanwhile."""
    task, gone = asyncio.create_task(work), asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise DisconnectError
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events; when the client goes away the iterator is closed, which ends the model's work."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def event(payload: Any) -> str:
    """One server-sent event."""
    return f"data: {payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def begun(request: Request, steps: AsyncGenerator[Step, None]) -> AsyncGenerator[Step, None]:
    """The same steps once the first one is there, so that a refusal can still be an HTTP error and not part of a stream."""
    first = await unless_gone(request, anext_of(steps))
    return chain(first, steps)


async def anext_of(steps: AsyncIterator[Step]) -> Step:
    """`anext` as a coroutine, which a task can run."""
    return await anext(steps)


async def chain(first: Step, rest: AsyncGenerator[Step, None]) -> AsyncGenerator[Step, None]:
    """One step and then the others."""
    async with aclosing(rest):
        yield first
        async for step in rest:
            yield step


async def to_the_end(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The events; a failure of the model becomes the last one, in TGI's shape."""
    async with aclosing(events):
        try:
            async for one in events:
                yield one
        except EngineError as error:
            yield event({"error": f"Request failed during generation: {error}", "error_type": "generation"})
