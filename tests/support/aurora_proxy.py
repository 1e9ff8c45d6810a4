"""Stands for Aurora before a real PostgreSQL: TLS, and a password that is checked as RDS checks an IAM token."""

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from support.certificate import write_certificate
from support.sigv4 import token_problem

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class AuroraProxy:
    """`logins` are the problems of the tokens that came, None for a good one."""

    def __init__(self, socket_path: Path, folder: Path, user: str, region: str) -> None:
        self.certificate, key = write_certificate(folder)
        self.logins: list[str | None] = []
        self.port = 0
        self._socket_path, self._user, self._region = socket_path, user, region
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(OSError, EOFError):
            await self._serve(client, back)
        back.close()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while (code := struct.unpack(">ii", await client.readexactly(8))[1]) != SSL_REQUEST:
            assert code == GSS_REQUEST, "the client talks without TLS"
            back.write(b"N")
        back.write(b"S")
        await back.start_tls(self._context)
        startup = await read_message(client)
        back.write(b"R" + struct.pack(">ii", 8, 3))  # the password, please, in clear
        assert await client.readexactly(1) == b"p"
        token = (await read_message(client))[4:].rstrip(b"\0").decode()
        self.logins.append(token_problem(token, f"localhost:{self.port}", self._user, self._region))
        if self.logins[-1]:
            text = f"SFATAL\0C28P01\0MPAM authentication failed: {self.logins[-1]}\0\0".encode()
            back.write(b"E" + struct.pack(">i", 4 + len(text)) + text)
            await back.drain()
            return
        server, forth = await asyncio.open_unix_connection(str(self._socket_path))
        forth.write(startup)
        await asyncio.gather(pump(server, back), pump(client, forth))


async def read_message(source: asyncio.StreamReader) -> bytes:
    """A message with its length."""
    head = await source.readexactly(4)
    return head + await source.readexactly(struct.unpack(">i", head)[0] - 4)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await source.read(65536):
            target.write(part)
            await target.drain()
    target.close()


@contextlib.contextmanager
def aurora(socket_path: Path, folder: Path, user: str, region: str) -> Iterator[AuroraProxy]:
    """The proxy on a free port, until the block ends."""
    proxy, ready, ended = AuroraProxy(socket_path, folder, user, region), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
