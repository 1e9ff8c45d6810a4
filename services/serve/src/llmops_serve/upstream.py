"""Connections to one model server that are kept and used again: HTTP/1.1 over asyncio with httptools' parser.

The gateway's own time is a few tenths of a millisecond a request, of which a general client takes more than half; this one does nothing
but send a request whose bytes are ready and give the answer's bytes back.
"""

import asyncio
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import AsyncGenerator
from typing import NamedTuple, cast
from urllib.parse import unquote, urlsplit

import httptools

MOST_IDLE = 256
IDLE_S = 4.0
"""uvicorn, TGI's and vLLM's servers close idle connections after five seconds and more."""
CONNECT_TIMEOUT_S = 5.0
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

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
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
    def on_status(self, status: bytes) -> None: ...

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
        self._reset()
        assert self._transport is not None
        self._transport.write(request)
        try:
            while not self.has_head:
                await self.wait(None)
        except BaseException:
            self._abort()
            raise
        return Answer(self)

    async def fetch(self, request: bytes, timeout_s: float) -> Reply:
        """Sends a request and waits for all of its answer. Raises UpstreamError."""
        self._reset()
        self._is_wanted_whole = True
        assert self._transport is not None
        self._transport.write(request)
        try:
            while not self.complete:
                await self.wait(timeout_s)
        except BaseException:
            self._abort()
            raise
        reply = Reply(self.status, self.headers, self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces))
        self.release()
        return reply

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
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(UpstreamError(f"{self._upstream.url}: said nothing for {timeout_s:g} s"))

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
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Upstream:
    """One server."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._prefix = parts.hostname or "", parts.path.rstrip("/")
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._ssl else 80)
        self._head = f"host: {parts.netloc.rpartition('@')[2]}\r\ncontent-type: application/json\r\n"
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._head += f"authorization: Basic {b64encode(user.encode()).decode()}\r\n"
        self._idle: list[Connection] = []
        self._is_closed = False

    async def send(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Sends a request and gives the answer once its head is there. Raises UpstreamError."""
        request = self._request(method, path, body)
        while (connection := self._kept()) is not None:
            try:
                return await connection.send(request)
            except UpstreamError:
                if connection.has_head:
                    raise
                break  # it was closed while the request was on its way; the server has not begun with it
        return await (await self._connect()).send(request)

    async def fetch(self, method: str, path: str, body: bytes = b"", timeout_s: float = SILENCE_TIMEOUT_S) -> Reply:
        """Sends a request and gives the whole answer. Raises UpstreamError when it does not come, or takes longer."""
        request = self._request(method, path, body)
        if (connection := self._kept()) is not None:
            try:
                return await connection.fetch(request, timeout_s)
            except UpstreamError:
                if connection.has_head or connection.is_late:
                    raise
        return await (await self._connect()).fetch(request, timeout_s)

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def _kept(self) -> Connection | None:
        """A connection that is open still, as far as known."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and now - connection.idle_since <= IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port, ssl=self._ssl)
        except (OSError, TimeoutError) as error:
            raise UpstreamError(f"{self.url}: cannot be reached ({error or 'timeout'})") from error
        return connection

    def keep(self, connection: Connection) -> None:
        """Keeps a connection for the next request."""
        if self._is_closed or len(self._idle) >= MOST_IDLE:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def close(self) -> None:
        """Closes what is idle, and from now on what becomes idle."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()
