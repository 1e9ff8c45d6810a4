"""Faults: overload, clients that vanish, SIGTERM, servers that flap, a swap, and requests that make no sense, each under load.

Sized for CI; the seed is printed. `tests/benchmarks/bench_serve_gateway.py` has the figures.
"""

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter

import pytest

from support.upstreams import GatewayProcess, remote_variant, upstreams, write_remote_endpoint

SEED = 20261125
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "What does chain do?"}], "max_tokens": 8}

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(240)]


@contextlib.contextmanager
def gateway(folder, number, *words):
    """A gateway process over so many servers."""
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


async def ask(port, body, timeout_s=60.0):
    """Status of one request on a connection of its own, and the seconds it took; None: the connection was refused."""
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


async def crowd(port, number, concurrency, body=CHAT, meanwhile=None):
    """Statuses of so many requests; `meanwhile` is called when a third of them is done."""
    found, left = [], iter(range(number))

    async def work():
        for index in left:
            if meanwhile is not None and index == number // 3:
                meanwhile()
            found.append(await ask(port, {**body, "user": f"user{index}"}))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return found


def statuses(found):
    return Counter(status for status, _ in found)


def test_ten_times_too_much_is_refused_at_once_and_the_rest_is_answered(tmp_path):
    with gateway(tmp_path, 1, "max_concurrent_requests=8") as (process, (server,), _):
        server.delay_s = 0.05
        calm = asyncio.run(crowd(process.port, 160, 8))
        before = process.memory_mb()
        storm = asyncio.run(crowd(process.port, 4000, 80))
        after = process.memory_mb()
        time.sleep(2)
        recovered = asyncio.run(crowd(process.port, 40, 4))

    assert statuses(calm) == {200: 160} and statuses(recovered) == {200: 40}
    assert set(statuses(storm)) == {200, 429}
    accepted = sorted(seconds for status, seconds in storm if status == 200)
    assert server.most_open == 8
    assert accepted
    assert after <= before * 1.2 + 5


def test_clients_that_vanish_in_mid_stream_leave_nothing_behind(tmp_path):
    number = 500

    async def vanish(port):
        async def one():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            content = json.dumps({**CHAT, "stream": True}).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
            await reader.readuntil(b"w0")
            return writer

        writers = await asyncio.gather(*(one() for _ in range(number)))
        for writer in writers:
            writer.transport.abort()

    with gateway(tmp_path, 1, "max_concurrent_requests=1000") as (process, (server,), _):
        asyncio.run(crowd(process.port, 50, 10))
        files = process.num_files()
        server.hold_after_first = True
        asyncio.run(vanish(process.port))
        gone = time.monotonic()
        while server.num_cut < number and time.monotonic() - gone < 10:
            time.sleep(0.02)
        server.hold_after_first = False
        time.sleep(1)
        left = process.num_files()
        metrics = process.metrics()

    assert server.num_cut == number
    assert left <= files + 10
    assert "tgi_queue_size 0\n" in metrics


def test_no_request_is_left_without_an_answer_at_sigterm(tmp_path):
    with gateway(tmp_path, 1) as (process, (server,), _):
        server.delay_s = 0.02
        found = asyncio.run(crowd(process.port, 600, 20, meanwhile=process.process.terminate))
        code = process.process.wait(30)

    assert set(statuses(found)) <= {200, None}  # answered, or never taken
    assert statuses(found)[200] >= 200
    assert code == 0


def test_a_server_that_flaps_is_not_noticed_while_another_is_well(tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")  # noqa: T201 - to run it again
    with gateway(tmp_path, 2) as (process, servers, loop):
        port, is_over = servers[1].port, False

        async def flap():
            while not is_over:
                await asyncio.sleep(rng.uniform(0.02, 0.2))
                await servers[1].stop()
                await asyncio.sleep(rng.uniform(0.02, 0.2))
                await servers[1].start(port)

        flapping = asyncio.run_coroutine_threadsafe(flap(), loop)
        found = asyncio.run(crowd(process.port, 1500, 16))
        streams = asyncio.run(crowd(process.port, 100, 8, {**CHAT, "stream": True}))
        is_over = True
        flapping.result(10)

    assert statuses(found) == {200: 1500}
    assert statuses(streams) == {200: 100}


def test_ten_thousand_requests_over_a_swap_all_succeed(tmp_path):
    number = int(os.environ.get("LLMOPS_SWAP_REQUESTS", "3000"))
    with gateway(tmp_path, 1) as (process, (server,), _), upstreams(1) as ((other,), _):
        variant = remote_variant(tmp_path, "next", [f"http://127.0.0.1:{other.port}"])
        following = write_remote_endpoint(tmp_path, [variant], generation=2)

        def swap():
            link = tmp_path / "new"
            link.symlink_to(following)
            link.replace(tmp_path / "current")
            process.hang_up()

        found = asyncio.run(crowd(process.port, number, 16, meanwhile=swap))
        end = time.monotonic() + 20
        while not any("generation 1 is left" in line for line in process.log) and time.monotonic() < end:
            time.sleep(0.05)

    assert statuses(found) == {200: number}
    assert server.num_asked > 0 and other.num_asked > 0
    assert any("generation 1 is left" in line for line in process.log)


VALUES = [None, True, -1, 0, 10**30, 1e308, "", "x", "\u0000", "😀" * 50, [], {}, [[]], {"a": {}}, ["a"] * 100, [None], [{"role": "user"}]]


def mutated(rng, tree):
    """A request with something of it replaced, removed or added; sometimes its bytes as well."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(
            [*tree, "stream", "stop", "n", "temperature", "seed", "model", "user", "metadata", "stream_options", "retrieval", "tools"]
        )
        if rng.random() < 0.2:
            tree.pop(key, None)
        else:
            tree[key] = rng.choice(VALUES)
    content = bytearray(json.dumps(tree).encode())
    if rng.random() < 0.3 and content:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def test_requests_that_make_no_sense_break_nothing(tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")  # noqa: T201 - to run it again
    number = int(os.environ.get("LLMOPS_FUZZ_REQUESTS", "2000"))

    async def fuzz(port):
        found, left = [], iter(range(number))

        async def work():
            for _ in left:
                found.append(await ask(port, mutated(rng, CHAT)))  # noqa: PERF401 - several tasks take from one list

        honest = asyncio.create_task(crowd(port, 100, 2))
        await asyncio.gather(*(work() for _ in range(16)))
        return found, await honest

    with gateway(tmp_path, 1, "guard.injection=refuse", "guard.pii=mask") as (process, _, _):
        found, honest = asyncio.run(fuzz(process.port))
        log = "".join(process.log)

    assert statuses(honest) == {200: 100}
    assert set(statuses(found)) <= {200, 400, 413, 422, 424}, statuses(found)
    assert "Traceback" not in log, log[-3000:]
