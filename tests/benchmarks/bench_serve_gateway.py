"""The gateway's own time: everything on, before a model server that answers at once, beside asking that server directly.

python tests/benchmarks/bench_serve_gateway.py [--requests 6000] [--concurrency 1 16 64] [--litellm /path/to/litellm] [--rate 1000]

With `--rate` requests come so many a second as well, whatever becomes of them, and their time counts from when they were due: clients that
wait for each answer before they ask again keep one core busy, and then measure what the gateway can do and not what its answers wait for.
Direct, gateway and LiteLLM take turns in one run, and so bear the same load of the machine; ratios and CPU time are what counts.
`bench_serve_shadow.py` has what a shadow adds.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from llmops_serve.limits import digest_of_key, new_key
from llmops_serve.server_process import free_port
from support.upstreams import GatewayProcess, cpu_s, remote_variant, write_remote_endpoint

BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello " * 20}], "max_tokens": 50}
ROUNDS = 5


def request_of(key: str, model: str) -> bytes:
    """A chat, as it goes over the wire."""
    body = json.dumps({**BODY, "model": model}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Sends a request and reads the whole answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:200]
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)


async def load(port: int, number: int, concurrency: int, key: str, model: str = "chat") -> list[float]:
    """Milliseconds of each request, sent over that many connections."""
    request = request_of(key, model)
    took: list[float] = []
    left = iter(range(number))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            began = time.perf_counter()
            await answered(reader, writer, request)
            took.append((time.perf_counter() - began) * 1000)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return took


async def load_at_rate(port: int, number: int, rate: float, key: str) -> list[float]:
    """Milliseconds of each request from when it was due, over connections that are used again."""
    request = request_of(key, "chat")
    took: list[float] = []
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(due: float) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await answered(reader, writer, request)
        took.append((time.perf_counter() - due) * 1000)
        idle.append((reader, writer))

    async with asyncio.TaskGroup() as group:
        began = time.perf_counter()
        for index in range(number):
            due = began + index / rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(ask(due))
    for _, writer in idle:
        writer.close()
    return took


def figures(took: list[float], seconds: float) -> dict[str, float]:
    cut = statistics.quantiles(took, n=100)
    return {"p50": cut[49], "p99": cut[98], "rate": len(took) / seconds}


def serve_upstream(*words: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "support.upstreams", str(port), *words], env={**os.environ, "PYTHONPATH": "tests"})
    return process, port


def serve_litellm(command: str, upstream: int, key: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    port, config = free_port(), folder / "litellm.yaml"
    model = {"model": "openai/m", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "sk-x"}
    config.write_text(
        json.dumps({"model_list": [{"model_name": "chat", "litellm_params": model}], "litellm_settings": {"telemetry": False}})
    )
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_MASTER_KEY": key}
    words = [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **settings})
    return process, port


def wait_for(port: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            asyncio.run(load(port, 1, 1, KEY))
            return
        except (OSError, AssertionError, asyncio.IncompleteReadError):
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


KEY = new_key()


def everything_on(folder: Path) -> list[str]:
    """Keys, limits, guard, capture in both forms, metrics as log lines."""
    settings = {"name": "bench", "sha256": digest_of_key(KEY), "requests_per_minute": 10**8, "tokens_per_minute": 10**10}
    (folder / "keys.json").write_text(json.dumps([settings]))
    guard = ["guard.injection=refuse", "guard.pii=mask", "guard.blocked_topics={weapons: [bomb, grenade]}"]
    logs = [f"data_capture={folder}/data-capture", f"metrics_log={folder}/metrics.log", "metrics_log_every_s=5"]
    return [f"keys={folder}/keys.json", "max_concurrent_requests=1000", *guard, *logs]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--litellm")
    parser.add_argument("--rate", type=float, help="requests a second that come whatever becomes of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        processes: list[Any] = []
        try:
            bench(options, folder, processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def bench(options: argparse.Namespace, folder: Path, processes: list[Any]) -> None:
    gateways, ports = start(options, folder, processes)
    before = {name: one.memory_mb() for name, one in gateways.items()}
    for concurrency in options.concurrency:
        compare(options.requests, partial(load, concurrency=concurrency), f"{concurrency} clients", gateways, ports, processes[0].pid)
    if options.rate:
        compare(options.requests, partial(load_at_rate, rate=options.rate), f"{options.rate:g} a second", gateways, ports, processes[0].pid)
    for name, one in gateways.items():
        start_s = {"start_s": round(one.start_s, 2), "start_cpu_s": round(one.start_cpu_s, 2)}
        memory = {"memory_mb": round(one.memory_mb()), "memory_before_mb": round(before[name])}
        counters = [line for line in one.metrics(KEY).splitlines() if line.startswith(("llmops_shadow", "llmops_capture"))]
        print(json.dumps({"what": name, **start_s, **memory, "metrics": counters}))
        assert one.stop() == 0


def start(options: argparse.Namespace, folder: Path, processes: list[Any]) -> tuple[dict[str, GatewayProcess], dict[str, int]]:
    """The gateways, and the ports of all that is compared."""
    upstream, direct = serve_upstream()
    processes.append(upstream)
    production = remote_variant(folder, "production", [f"http://127.0.0.1:{direct}"])
    wait_for(direct)
    gateways = {"gateway": GatewayProcess(write_remote_endpoint(folder, [production]), *everything_on(folder))}
    processes += [one.process for one in gateways.values()]
    ports = {"direct": direct, **{name: one.port for name, one in gateways.items()}}
    if options.litellm:
        process, ports["litellm"] = serve_litellm(options.litellm, direct, KEY, folder)
        processes.append(process)
        wait_for(ports["litellm"])
    return gateways, ports


def compare(requests: int, ask: Any, load: str, gateways: dict[str, GatewayProcess], ports: dict[str, int], upstream: int) -> None:
    """All of them under one load, in turn, so that all bear the same load of the machine."""
    took: dict[str, list[float]] = {name: [] for name in ports}
    seconds = dict.fromkeys(ports, 0.0)
    cpu: dict[str, dict[str, float]] = {name: dict.fromkeys(("gateway", "server", "clients"), 0.0) for name in ports}
    for _ in range(ROUNDS):
        for name, port in ports.items():
            number = requests // ROUNDS // (20 if name == "litellm" else 1)
            used, began = cpu_of(gateways.get(name), upstream), time.perf_counter()
            took[name] += asyncio.run(ask(port, number, key=KEY))
            seconds[name] += time.perf_counter() - began
            for who, spent in cpu_of(gateways.get(name), upstream).items():
                cpu[name][who] += spent - used[who]
    found = {name: figures(took[name], seconds[name]) for name in ports}
    for name, one in found.items():
        each = {f"{who}_cpu_us": spent / len(took[name]) * 1e6 for who, spent in cpu[name].items() if spent}
        if name in gateways:  # what two cores with nothing else to do could carry, by these figures
            each["two_cores_rate"] = min(2e6 / sum(each.values()), 1e6 / each["gateway_cpu_us"])
        extra = beside(name, one, found) | each
        print(json.dumps({"what": name, "load": load} | {key: round(value, 3) for key, value in (one | extra).items()}))


def cpu_of(one: GatewayProcess | None, upstream: int) -> dict[str, float]:
    """CPU seconds of gateway, model server and clients, which are this process."""
    return {"gateway": one.cpu_s() if one else 0.0, "server": cpu_s(upstream), "clients": time.process_time()}


def beside(name: str, one: dict[str, float], found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Its figures beside those of the others."""
    if name == "direct":
        return {}
    extra = {f"over_direct_{figure}_ms": one[figure] - found["direct"][figure] for figure in ("p50", "p99")}
    if name == "litellm":
        extra["gateway_is_times_as_fast"] = found["gateway"]["rate"] / one["rate"]
    return extra


def wait_to_listen(port: int) -> None:
    import socket

    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
