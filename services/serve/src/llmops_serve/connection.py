"""One connection to a model server: HTTP/1.1 over asyncio with httptools' parser, a request at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple, Protocol, cast

import httptools

SILENCE_TIMEOUT_S = 300.0
"""A server that says nothing for longer has lost the request."""
MOST_BUFFERED = 2**20
Header = tuple[bytes, bytes]
ENDS = (b"content-length", b"transfer-encoding")
"""Headers that tell where a body ends."""


class UpstreamError(Exception):
    """The server could not be reached, or went away."""


class Reply(NamedTuple):
    """A whole response."""

    status: int
    headers: list[Header]
    body: bytes


Done = Callable[["Reply | UpstreamError"], object]
"""What is told how a request ended."""


class Keeper(Protocol):
    """Where a connection belongs."""

    url: str

    def keep(self, connection: "Connection") -> None:
        """Takes it back for the next request."""


class Answer:
    """A response whose head is there."""

    def __init__(self, connection: "Connection") -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._connection = connection

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamError when the server goes away before its end."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; leaving early closes the connection, which tells the server."""
        connection = self._connection
        try:
            while True:
                while connection.pieces:
                    yield connection.take()
                if connection.complete:
                    return
                await connection.wait(SILENCE_TIMEOUT_S)
        finally:
            connection.release()


class Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, upstream: Keeper) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._reset()
        self.lost = False
        self.idle_since = 0.0

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers = 0, list[Header]()
        self.pieces: deque[bytes] = deque()
        self._num_buffered, self._is_paused = 0, False
        self.has_head = self.complete = self.is_late = self._stays = self._is_wanted_whole = False

    # what asyncio calls
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._abort()
        if self.complete or not self._is_wanted_whole:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.has_head and error is None and not any(name in ENDS for name, _ in self.headers):
            self.complete = True  # a body without a length ends with its connection
        self._wake()

    # what the parser calls
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self._num_buffered += len(body)
        if self._num_buffered > MOST_BUFFERED and not (self._is_paused or self._is_wanted_whole) and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.complete = True
        self._stays = self._parser.should_keep_alive()  # the parser knows it only now

    # what the gateway calls
    async def send(self, request: bytes) -> Answer:
        """Sends a request and waits for the head of its answer. Raises UpstreamError."""
        self._begin(request)
        await self._until(lambda: self.has_head, None)
        return Answer(self)

    async def fetch(self, request: bytes, timeout_s: float) -> Reply:
        """Sends a request and waits for all of its answer. Raises UpstreamError."""
        self._begin(request, is_wanted_whole=True)
        await self._until(lambda: self.complete, timeout_s)
        return self._reply()

    def ask(self, request: bytes, timeout_s: float, done: Done) -> None:
        """Sends a request; `done` is told at once when all of its answer is there, or why none came. As `fetch`, without a task."""
        self._timer = self._loop.call_later(timeout_s, self._expire, timeout_s)
        self._done = done
        self._begin(request, is_wanted_whole=True)

    def forget(self) -> None:
        """Nobody waits for the answer any more; the server is told by the end of the connection."""
        self._take_done()
        self._abort()

    def _begin(self, request: bytes, is_wanted_whole: bool = False) -> None:
        self._reset()
        self._is_wanted_whole = is_wanted_whole
        assert self._transport is not None
        self._transport.write(request)

    async def _until(self, is_there: Callable[[], bool], timeout_s: float | None) -> None:
        try:
            while not is_there():
                await self.wait(timeout_s)
        except BaseException:  # whoever stops waiting, cancelled or not, leaves an answer that must not be taken for the next one's
            self._abort()
            raise

    def _reply(self) -> Reply:
        reply = Reply(self.status, self.headers, self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces))
        self.release()
        return reply

    def _take_done(self) -> Done | None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return done

    async def wait(self, timeout_s: float | None) -> None:
        """Until something happened. Raises UpstreamError when the server is gone, or silent for too long."""
        if self.lost:
            raise UpstreamError(f"{self._upstream.url}: closed the connection")
        self._waiter = self._loop.create_future()
        # a bare timer, for `asyncio.timeout` costs several times as much and this is done for every request
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._expire, timeout_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if self.lost and not self.complete and not self.pieces:
            raise UpstreamError(f"{self._upstream.url}: closed the connection")

    def _expire(self, timeout_s: float) -> None:
        self.is_late = True
        error = UpstreamError(f"{self._upstream.url}: said nothing for {timeout_s:g} s")
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        if (done := self._take_done()) is not None:
            self._abort()
            done(error)

    def take(self) -> bytes:
        """The next piece of the body."""
        piece = self.pieces.popleft()
        self._num_buffered -= len(piece)
        if self._is_paused and self._num_buffered < MOST_BUFFERED // 2 and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    def release(self) -> None:
        """To the idle ones, if its answer is complete and the server lets it live."""
        if self.complete and not self.lost and self._stays:
            self._upstream.keep(self)
        else:
            self._abort()

    def close(self) -> None:
        """Ends it."""
        self._abort()

    def _abort(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if (done := self._take_done()) is not None:
            done(self._reply() if self.complete else UpstreamError(f"{self._upstream.url}: closed the connection"))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
