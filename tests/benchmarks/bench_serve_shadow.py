"""What live requests notice of a shadow that hangs, fails or answers at once, beside a gateway without one and a second one without.

python tests/benchmarks/bench_serve_shadow.py [--rounds 40] [--requests 500] [--concurrency 1 16] [--rate 1000]

All five gateways take short turns under each load, in an order that is drawn anew each round, and each figure is the median over the rounds
of its ratio to the gateway without a shadow in the same round, with the quartiles. The second gateway without a shadow is what that ratio is
worth: where "none again" scatters as widely as the others, they are alike. With `--rate`, requests come so many a second, and their time
counts from when they were due. Every pair a shadow was to get is stored, or dropped and counted: the last lines say how many.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_serve_gateway import KEY, everything_on, load, load_at_rate, serve_upstream, wait_for, wait_to_listen

from support.upstreams import GatewayProcess, remote_variant, write_remote_endpoint

KINDS = ("none", "none again", "hang", "fail", "flood")
SEED = 20261126
CALM_S = 0.05
SMALL_MS = 0.2
"""A difference below it counts for nothing, whatever the ratio."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=500, help="of one turn")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rate", type=float, default=1000, help="requests a second that come whatever becomes of them")
    options = parser.parse_args()
    loads = {f"{number} clients": partial(load, concurrency=number) for number in options.concurrency}
    loads |= {f"{options.rate:g} a second": partial(load_at_rate, rate=options.rate)}
    with tempfile.TemporaryDirectory() as scratch:
        processes: list[Any] = []
        try:
            gateways = start(Path(scratch), processes)
            for name, ask in loads.items():
                report(name, turns(gateways, partial(ask, number=options.requests, key=KEY), options.rounds))
            for kind, gateway in gateways.items():
                print(json.dumps({"shadow": kind, **pairs(Path(scratch) / f"exchanges-{kind}", gateway)}))
        finally:
            for process in processes:
                process.kill()
                process.wait()


def start(folder: Path, processes: list[Any]) -> dict[str, GatewayProcess]:
    """A gateway for each kind of shadow."""
    upstream, direct = serve_upstream()
    processes.append(upstream)
    wait_for(direct)
    production = remote_variant(folder, "production", [f"http://127.0.0.1:{direct}"])
    gateways = {}
    for number, kind in enumerate(KINDS):
        variants = [production]
        if not kind.startswith("none"):
            other, port = serve_upstream("0", kind)
            processes.append(other)
            wait_to_listen(port)
            variants.append(remote_variant(folder, f"shadow-{kind}", [f"http://127.0.0.1:{port}"], shadow=True))
        endpoint = write_remote_endpoint(folder, variants, f"../exchanges-{kind}", generation=number + 1)
        gateways[kind] = GatewayProcess(endpoint, "drain_timeout_s=5", *everything_on(folder))
        processes.append(gateways[kind].process)
    return gateways


def turns(gateways: dict[str, GatewayProcess], ask: Any, rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds of the requests of each turn."""
    rng, took = random.Random(SEED), {kind: list[list[float]]() for kind in gateways}
    for one in gateways.values():
        asyncio.run(ask(one.port))  # connections, and what is made at first use
    for _ in range(rounds):
        for kind in rng.sample(KINDS, len(KINDS)):
            took[kind].append(asyncio.run(ask(gateways[kind].port)))
            wait_until_calm(gateways[kind])  # its copies are part of its own turn, not of the next one's
    return took


def wait_until_calm(gateway: GatewayProcess) -> None:
    """Until a gateway does nothing any more."""
    used = -1.0
    while (now := gateway.cpu_s()) != used:
        used = now
        time.sleep(CALM_S)


def report(load: str, took: dict[str, list[list[float]]]) -> None:
    """Each kind beside the gateway without a shadow."""
    for kind, found in took.items():
        line: dict[str, Any] = {"load": load, "shadow": kind}
        for name, place in (("p50", 49), ("p99", 98)):
            none = [statistics.quantiles(turn, n=100)[place] for turn in took["none"]]
            own = [statistics.quantiles(turn, n=100)[place] for turn in found]
            line[f"{name}_ms"] = round(statistics.median(own), 3)
            if kind != "none":
                ratios = [a / b for a, b in zip(own, none, strict=True)]
                apart_ms = statistics.median(a - b for a, b in zip(own, none, strict=True))
                low, middle, high = statistics.quantiles(ratios, n=4)
                line |= {f"{name}_beside_none": round(middle, 3), f"{name}_quartiles": [round(low, 2), round(high, 2)]}
                line |= {f"{name}_apart_ms": round(apart_ms, 3), f"{name}_unnoticed": middle <= 1.05 or apart_ms <= SMALL_MS}
        print(json.dumps(line), flush=True)


def pairs(log: Path, gateway: GatewayProcess) -> dict[str, int]:
    """What became of the copies: stored, counted as dropped, or counted on the way out."""
    dropped = next(line for line in gateway.metrics(KEY).splitlines() if line.startswith("llmops_shadow_dropped "))
    assert gateway.stop() == 0
    kept = [line for file in log.rglob("*.jsonl") for line in file.read_text().splitlines()]
    copies = sum('"shadow":true' in line for line in kept)
    left = next((line.rpartition("variant: ")[2].split()[0] for line in gateway.log if "gave up waiting for the shadow" in line), "0")
    counted = {"copies_stored": copies, "dropped": int(float(dropped.split()[1])), "dropped_at_the_end": int(left)}
    missing = {"unaccounted_for": len(kept) - copies - sum(counted.values())} if sum(counted.values()) else {}
    return {"answers_stored": len(kept) - copies} | counted | missing


if __name__ == "__main__":
    main()
