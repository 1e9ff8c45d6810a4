"""Crowds of clients before a gateway process: at once, at a rate, and how late the machine itself was meanwhile."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from support.upstreams import GatewayProcess, Upstream, remote_variant, upstreams, write_remote_endpoint

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "What does chain do?"}], "max_tokens": 8}
Found = tuple[int | None, float]
"""Status of a request and the seconds it took; 0: the connection ended, None: it was refused."""


@contextlib.contextmanager
def gateway(folder: Path, number: int, *words: str) -> Iterator[tuple[GatewayProcess, list[Upstream], asyncio.AbstractEventLoop]]:
    """A gateway process over so many servers; `current` in the folder is a link to its document."""
    with upstreams(number) as (servers, loop):
        urls = [f"http://127.0.0.1:{server.port}" for server in servers]
        endpoint = write_remote_endpoint(folder, [remote_variant(folder, "production", urls)])
        current = folder / "current"
        current.symlink_to(endpoint)
        process = GatewayProcess(current, "drain_timeout_s=10", *words)
        try:
            yield process, servers, loop
        finally:
            process.stop()


async def ask(port: int, body: Any, timeout_s: float = 60.0) -> Found:
    """One request on a connection of its own."""
    began = time.perf_counter()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return None, 0.0
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    writer.write(head + b"content-length: %d\r\n\r\n" % len(content) + content)
    try:
        answer = await asyncio.wait_for(reader.read(), timeout_s)
    except ConnectionError:
        answer = b""
    writer.close()
    return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0), time.perf_counter() - began


async def crowd(
    port: int, number: int, concurrency: int, body: dict[str, Any] = CHAT, meanwhile: Callable[[], object] | None = None
) -> list[Found]:
    """So many requests, each of another user; `meanwhile` is called when a third of them is done."""
    found: list[Found] = []
    left = iter(range(number))

    async def work() -> None:
        for index in left:
            if meanwhile is not None and index == number // 3:
                meanwhile()
            found.append(await ask(port, {**body, "user": f"user{index}"}))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return found


async def arrivals(port: int, rate: float, seconds: float, body: dict[str, Any] = CHAT) -> tuple[list[Found], float]:
    """Requests that come at a rate, whatever becomes of them, and how late the latest of 99 in 100 of them was sent."""
    found, late = list[Found](), list[float]()
    began = time.perf_counter()

    async def one() -> None:
        found.append(await ask(port, body))

    async with asyncio.TaskGroup() as group:
        for index in range(round(rate * seconds)):
            due = began + index / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late.append(time.perf_counter() - due)
            group.create_task(one())
    return found, quantile(late, 0.99)


def quantile(values: Sequence[float], point: float) -> float:
    """A value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(point * len(ordered)))]


def statuses(found: Sequence[Found]) -> Counter[int | None]:
    """How often each status came."""
    return Counter(status for status, _ in found)
