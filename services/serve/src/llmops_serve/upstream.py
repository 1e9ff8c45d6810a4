"""Connections to one model server that are kept and used again.

The gateway's own time is a few tenths of a millisecond a request, of which a general client takes more than half; this one does nothing
but send a request whose bytes are ready and give the answer's bytes back.
"""

import asyncio
import ssl
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from llmops_serve.connection import SILENCE_TIMEOUT_S, Answer, Connection, Reply, UpstreamError

__all__ = ["Answer", "Connection", "Reply", "Upstream", "UpstreamError"]

MOST_IDLE = 256
IDLE_S = 4.0
"""uvicorn, TGI's and vLLM's servers close idle connections after five seconds and more."""
CONNECT_TIMEOUT_S = 5.0


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
        request = self.request(method, path, body)
        while (connection := self.kept()) is not None:
            try:
                return await connection.send(request)
            except UpstreamError:
                if connection.has_head:
                    raise
                break  # it was closed while the request was on its way; the server has not begun with it
        return await (await self._connect()).send(request)

    async def fetch(self, method: str, path: str, body: bytes = b"", timeout_s: float = SILENCE_TIMEOUT_S) -> Reply:
        """Sends a request and gives the whole answer. Raises UpstreamError when it does not come, or takes longer."""
        request = self.request(method, path, body)
        if (connection := self.kept()) is not None:
            try:
                return await connection.fetch(request, timeout_s)
            except UpstreamError:
                if connection.has_head or connection.is_late:
                    raise
        return await (await self._connect()).fetch(request, timeout_s)

    def request(self, method: str, path: str, body: bytes) -> bytes:
        """The bytes of a request."""
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def kept(self) -> Connection | None:
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
