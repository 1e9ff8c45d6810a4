"""The two ways of a request that is handed on: an answer for its client, and a shadow's answer for the record."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from llmops_serve.arrival import Headers
from llmops_serve.engines.remote import reason_of
from llmops_serve.gateway import Gateway
from llmops_serve.protocol import Protocol
from llmops_serve.relay import Plan, copy_later, read_event, read_whole, settle, whole_body
from llmops_serve.replicas import Replica
from llmops_serve.turn import Turn
from llmops_serve.upstream import Answer, Reply, UpstreamError

ANSWER_TIMEOUT_S = 600.0
MOST_COPIED = 8 * 2**20
"""Bytes of a shadow's answer."""
Event = MutableMapping[str, Any]
Send = Callable[[Event], Awaitable[None]]
GONE = "the client went away"


class ServerError(Exception):
    """No server answered; the last one's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def relay(gateway: Gateway, planned: Plan, connection: Protocol, send: Send, headers: Headers) -> None:
    """Answers a client. Raises ServerError before anything of the answer was sent."""
    turn = Turn(planned.ask.arrived, error=GONE)
    task = asyncio.current_task()
    assert task is not None
    connection.on_gone = task.cancel
    if connection.is_gone:
        task.cancel()
    gateway.metrics.count("tgi_request_count")
    try:
        if planned.streams:
            await stream(gateway, planned, turn, send, headers)
        else:
            await whole(gateway, planned, turn, send, headers)
        copy_later(gateway, planned, copy)
    except asyncio.CancelledError:
        if not connection.is_gone:
            raise
        task.uncancel()
    except ServerError as error:
        turn.error = None if error.status in (422, 429) else str(error)
        raise
    finally:
        connection.on_gone = None
        if turn.error is not None or turn.finish != "error":
            gateway.record(planned.ask, planned.served, planned.arm, turn)


async def whole(gateway: Gateway, planned: Plan, turn: Turn, send: Send, headers: Headers) -> None:
    """The server's answer, byte for byte; another server's while nothing was sent."""
    reply = await first_good(planned, turn, planned.body, asked(gateway, planned, turn))
    if isinstance(reply, ServerError):
        raise ServerError(reply.status, str(reply))
    await send({"type": "http.response.start", "status": 200, "headers": [*content_headers(reply), *headers]})
    await send({"type": "http.response.body", "body": reply.body})


def content_headers(reply: Reply) -> Headers:
    """What a server says of its answer's body."""
    kind = b"application/json"
    for name, value in reply.headers:
        if name == b"content-type":
            kind = value
    return [(b"content-type", kind), (b"content-length", b"%d" % len(reply.body))]


async def first_good(
    planned: Plan, turn: Turn, body: bytes, servers: Iterable[Replica], error: ServerError | None = None
) -> Reply | ServerError:
    """The first whole answer that one of these servers gives, or what the last one said; `error` is what the one before them said.

    The error is given back and not raised: one that is raised from a variable is in a ring with its frame, and a shadow that fails would
    leave the request with each copy, for the garbage collector to find some milliseconds long.
    """
    for one in servers:
        assert one.upstream is not None
        one.num_relayed += 1
        try:
            reply = await one.upstream.fetch("POST", planned.route, body, ANSWER_TIMEOUT_S)
            error = judge(one, turn, reply)
        except UpstreamError as failure:
            error = unreached(one, failure)
        finally:
            one.num_relayed -= 1
        if error is None:
            return reply
        if error.status == 422:
            break
    assert error is not None  # a variant has a server
    return error


def judge(one: Replica, turn: Turn, reply: Reply) -> ServerError | None:
    """Notes what a server answered; None for an answer that is one."""
    if reply.status != 200:
        return refusal_of(one, reply.status, reply.body)
    try:
        settle(turn, read_whole(reply.body))
    except ValueError as failure:
        one.breaker.failed()
        return ServerError(424, f"{one.name}: {failure}")
    one.breaker.succeeded()
    return None


def unreached(one: Replica, failure: UpstreamError) -> ServerError:
    """What a server that did not answer means."""
    one.breaker.failed()
    return ServerError(424, str(failure))


async def stream(gateway: Gateway, planned: Plan, turn: Turn, send: Send, headers: Headers) -> None:
    """The server's events as they come; another server's while none was sent."""
    error: ServerError | None = None
    for one in asked(gateway, planned, turn):
        assert one.upstream is not None
        one.num_relayed += 1
        try:
            async with asyncio.timeout(planned.served.engine.first_token_timeout_s) as patience:
                answer = await one.upstream.send("POST", planned.route, planned.body)
                if answer.status == 200:
                    await events(answer, planned, turn, send, headers, patience)
                    (one.breaker.succeeded if turn.error is None else one.breaker.failed)()
                    return
                error = refusal_of(one, answer.status, await answer.read())
        except (UpstreamError, TimeoutError) as failure:
            one.breaker.failed()
            error = ServerError(424, str(failure) or f"{one.name}: no token in time")
        finally:
            one.num_relayed -= 1
        if error.status == 422:
            break
    assert error is not None  # a variant has a server
    raise ServerError(error.status, str(error))


async def events(answer: Answer, planned: Plan, turn: Turn, send: Send, headers: Headers, patience: asyncio.Timeout) -> None:
    """Passes events on, whole ones only. After the first one, a failure ends the stream with an event that says so."""
    rest, begun = b"", False
    try:
        async for piece in answer.pieces():
            *complete, rest = (rest + piece).split(b"\n\n")
            passed = [event for event in complete if not (read_event(turn, event) and planned.hides_usage)]
            if not passed:
                continue
            if not begun:
                begun = True
                patience.reschedule(None)
                content = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
                await send({"type": "http.response.start", "status": 200, "headers": [*content, *headers]})
            await send({"type": "http.response.body", "body": b"\n\n".join([*passed, b""]), "more_body": True})
        if turn.finish == "error" and turn.error == GONE:
            raise UpstreamError("the stream ended before the answer did")
    except (UpstreamError, ValueError) as error:
        if not begun:
            raise UpstreamError(str(error)) from error
        turn.error = str(error)
        words = b'data: {"error":"Request failed during generation","error_type":"generation"}\n\n'
        await send({"type": "http.response.body", "body": words, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def asked(gateway: Gateway, planned: Plan, turn: Turn) -> Iterator[Replica]:
    """The servers to ask, with a note in the record; each but the first is a retry."""
    for number, one in enumerate(planned.served.engine.in_order(planned.sticky)):
        if number:
            gateway.metrics.count("llmops_retries")
        turn.replica = one.name
        yield one


def refusal_of(one: Replica, status: int, content: bytes) -> ServerError:
    """What a status other than 200 means: the client's fault, a busy server, or a broken one."""
    words = reason_of(content)
    if status in (400, 404, 413, 422):
        return ServerError(422, words)
    if status == 429:
        return ServerError(429, f"{one.name}: {words}")
    one.breaker.failed()
    return ServerError(424, f"{one.name}: answered {status}: {words}")


async def copy(gateway: Gateway, planned: Plan) -> None:
    """The shadow's answer to a copy, for the record only."""
    turn = Turn(time.perf_counter())
    found = await first_good(planned, turn, whole_body(planned), asked(gateway, planned, turn))
    if isinstance(found, ServerError):
        turn.error = str(found)
    gateway.record(planned.ask, planned.served, planned.arm, turn)
