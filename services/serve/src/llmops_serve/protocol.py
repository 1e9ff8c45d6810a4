"""uvicorn's HTTP protocol as a gateway wants it: one write an answer, and word at once of a client that went away."""

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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

    def close(self) -> None:
        """Sends what is held, and ends the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""


class Protocol(HttpToolsProtocol):
    """A client's connection. Requests find it in their scope's state, as `connection`, and there as well their `cycle`."""

    on_gone: Callable[[], object] | None = None
    """Called when the client goes away; whoever answers a request sets it meanwhile."""
    is_gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", Joined(transport, self.loop)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.scope["state"].update(connection=self, cycle=self.cycle)
