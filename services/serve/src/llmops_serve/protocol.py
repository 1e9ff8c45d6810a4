"""uvicorn's HTTP protocol as a gateway wants it: one write an answer, word at once of a client that went away, and a short way."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from llmops_serve.arrival import Headers

if TYPE_CHECKING:
    from llmops_serve.express import Express

TAKEN = {b"/v1/chat/completions": "/v1/chat/completions", b"/v1/completions": "/v1/completions"}
"""Routes of the short way."""
Take = Callable[["Protocol", Headers, bytes], bool]


class Joined:
    """A transport that sends head and body of an answer together: each write wakes the other side, which costs more than the bytes."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, content: bytes) -> None:
        """Holds what comes first until there is more, or nothing more comes for now."""
        if self._held:
            self._transport.write(self._held + content)
            self._held = b""
        elif content:
            self._held = content
            self._loop.call_soon(self._flush)

    def write_whole(self, content: bytes) -> None:
        """Writes head and body that are together."""
        self._flush()
        self._transport.write(content)

    def close(self) -> None:
        """Sends what is held, and ends the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""


class Protocol(HttpToolsProtocol):
    """A client's connection. Requests find it in their scope's state, as `connection`, and there as well their `cycle`.

    A request whose bytes came together is offered to the app's `take` before uvicorn knows of it; one that is not taken is uvicorn's.
    """

    on_gone: Callable[[], object] | None = None
    """Called when the client goes away; whoever answers a request sets it meanwhile."""
    is_gone = False
    taken: "Express | None" = None
    """The request that is on the short way."""
    path = ""
    """Of the request that is offered."""
    _take: Take | None = None
    _offered: bytes | None = None
    _is_whole = _keeps = False
    _later = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joined = Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._take = getattr(self.app, "take", None)  # uvicorn may have wrapped it, to trace

    def data_received(self, data: bytes) -> None:
        if self.taken is not None:
            self._later += data
            self.flow.pause_reading()
            return
        super().data_received(data)
        if self._offered is not None:
            self._offer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone, self._offered = True, None
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()
        if self.taken is not None:
            taken, self.taken = self.taken, None
            taken.gone()

    def shutdown(self) -> None:
        if self.taken is None:
            super().shutdown()
        else:
            self._keeps = False

    # what the parser calls
    def on_message_begin(self) -> None:
        if self._offered is not None:
            self._start()  # more requests came with it
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        path = TAKEN.get(self.url)
        if path is not None and self._take is not None and self._is_plain():
            self.path, self._offered, self._is_whole, self._keeps = path, b"", False, self.parser.should_keep_alive()
        else:
            self._start_cycle()

    def on_body(self, body: bytes) -> None:
        if self._offered is None:
            super().on_body(body)
        else:
            self._offered = self._offered + body if self._offered else body

    def on_message_complete(self) -> None:
        if self._offered is None:
            super().on_message_complete()
        else:
            self._is_whole = True

    # what the short way calls
    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answers the request that was taken; what came meanwhile is its turn."""
        self.taken = None
        if self.is_gone:
            return
        content = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            content += (name, b": ", value, b"\r\n")
        for name, value in headers:
            content += (name, b": ", value, b"\r\n")
        content += (b"\r\n" if self._keeps else b"connection: close\r\n\r\n", body)
        self._joined.write_whole(b"".join(content))
        if not self._keeps:
            self.transport.close()
        self.on_response_complete()
        if self._later and not self.transport.is_closing():
            later, self._later = self._later, b""
            self.data_received(later)

    def _is_plain(self) -> bool:
        """Whether nothing is to be done before the body is there, and nothing before it is under way."""
        parser: Any = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not (self.expect_100_continue or parser.should_upgrade() or self.flow.write_paused)
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _offer(self) -> None:
        if self.transport.is_closing() or (self._is_whole and self._takes()):  # one the parser did not like is closed
            self._offered = None
        else:
            self._start()

    def _takes(self) -> bool:
        return self._take is not None and self._take(self, self.headers, self._offered or b"")

    def _start(self) -> None:
        """Makes the request that is offered one of uvicorn's."""
        body, self._offered = self._offered, None
        self._start_cycle()
        self.scope["method"], self.scope["http_version"] = "POST", "1.1"  # the parser may be further on
        self.cycle.keep_alive = self._keeps
        if body:
            super().on_body(body)
        if self._is_whole:
            super().on_message_complete()

    def _start_cycle(self) -> None:
        super().on_headers_complete()
        self.scope["state"].update(connection=self, cycle=self.cycle)
