"""The short way of a request that is handed on and came whole: no task and no ASGI, which take longer than all that is done here.

Only the first server is asked on it, over a connection that is open. What comes otherwise is gone on with in a task, as in `exchange_http`.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING

from pydantic_core import to_json

from llmops_serve.arrival import Headers
from llmops_serve.connection import Connection, Reply, UpstreamError
from llmops_serve.exchange_http import ANSWER_TIMEOUT_S, GONE, ServerError, asked, content_headers, copy, first_good, judge, unreached
from llmops_serve.gateway import Gateway
from llmops_serve.relay import Plan, copy_later
from llmops_serve.replicas import Replica
from llmops_serve.turn import Turn

if TYPE_CHECKING:
    from llmops_serve.protocol import Protocol

ENDED = "the server ended before the answer was there"


Explain = Callable[[ServerError, str], tuple[int, str, str, Headers]]
"""What a failure of a request with this id means to its client: status, words, TGI's kind of error, and headers."""


class Express:
    """One request on the short way. Its client asks nothing else meanwhile."""

    __slots__ = ("_client", "_connection", "_explain", "_gateway", "_headers", "_one", "_planned", "_servers", "_task", "_turn")

    def __init__(self, gateway: Gateway, planned: Plan, client: "Protocol", headers: Headers, explain: Explain) -> None:
        self._gateway, self._planned, self._client, self._headers, self._explain = gateway, planned, client, headers, explain
        self._turn = Turn(planned.ask.arrived, error=GONE)
        self._servers = asked(gateway, planned, self._turn)
        self._one: Replica = next(self._servers)
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Asks the first server."""
        self._client.taken = self
        self._gateway.num_open += 1
        self._gateway.metrics.count("tgi_request_count")
        upstream = self._one.upstream
        assert upstream is not None
        self._connection = upstream.kept()
        if self._connection is None:
            self._go_on(chain((self._one,), self._servers))
            return
        self._one.num_relayed += 1
        self._connection.ask(upstream.request("POST", self._planned.route, self._planned.body), ANSWER_TIMEOUT_S, self._answered)

    def gone(self) -> None:
        """The client went away."""
        self._give_up()
        self._end()

    def give_up(self) -> None:
        """The server ends, and has waited long enough."""
        self._give_up()
        self._turn.error = ENDED
        self._refuse(503, ENDED, "overloaded", [])
        self._end()

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._connection is not None:
            self._one.num_relayed -= 1
            self._connection.forget()

    def _answered(self, reply: Reply | UpstreamError) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        self._one.num_relayed -= 1
        if isinstance(reply, Reply):
            error = judge(self._one, self._turn, reply)
            if error is None:
                self._well(reply)
            elif error.status == 422:
                self._failed(error)
            else:
                self._go_on(self._servers, error)
        elif connection.has_head or connection.is_late:
            self._go_on(self._servers, unreached(self._one, reply))
        else:  # it was closed while the request was on its way; the server has not begun with it
            self._go_on(chain((self._one,), self._servers))

    def _go_on(self, servers: Iterable[Replica], error: ServerError | None = None) -> None:
        self._task = asyncio.get_running_loop().create_task(self._ask(servers, error))
        self._client.tasks.add(self._task)  # those that the end of the server waits for
        self._task.add_done_callback(self._over)

    async def _ask(self, servers: Iterable[Replica], error: ServerError | None) -> None:
        found = await first_good(self._planned, self._turn, self._planned.body, servers, error)
        if isinstance(found, ServerError):
            self._failed(found)
        else:
            self._well(found)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._client.tasks.discard(task)
        if self._client.taken is self:  # the server ends, or there is an error of ours, which asyncio logs
            self.give_up()

    def _well(self, reply: Reply) -> None:
        self._client.answer(200, [*content_headers(reply), *self._headers], reply.body)
        copy_later(self._gateway, self._planned, copy)
        self._end()

    def _failed(self, error: ServerError) -> None:
        self._turn.error = None if error.status in (422, 429) else str(error)
        self._refuse(*self._explain(error, self._planned.ask.request_id))
        self._end()

    def _refuse(self, status: int, words: str, error_type: str, headers: Headers) -> None:
        body = to_json({"error": words, "error_type": error_type})
        content = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._client.answer(status, [*content, *self._headers, *headers], body)

    def _end(self) -> None:
        """It is over, one way or another."""
        self._task = self._connection = None
        self._gateway.num_open -= 1
        turn, planned = self._turn, self._planned
        if turn.error is not None or turn.finish != "error":
            self._gateway.record(planned.ask, planned.served, planned.arm, turn)
