"""Requests that make no sense, from the gateway's own OpenAPI document and by mutation: never a 5xx, and honest clients are answered.

LLMOPS_FUZZ_REQUESTS=10000 sends as many as are promised; the seed is printed.
"""

import asyncio
import contextlib
import json
import os
import random
import threading
import time

import httpx
import hypothesis
import pytest
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from support.crowd import CHAT, ask, crowd, gateway, statuses

SEED = 20261125
NUMBER = int(os.environ.get("LLMOPS_FUZZ_REQUESTS", "1600"))
ROUTES = ["/", "/generate", "/generate_stream", "/invocations", "/v1/chat/completions", "/v1/completions", "/tokenize", "/chat_tokenize"]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A gateway with a guard, for all of this file."""
    with gateway(tmp_path_factory.mktemp("fuzz"), 1, "guard.injection=refuse", "guard.pii=mask") as (process, _, _):
        yield process


@contextlib.contextmanager
def an_honest_client(server):
    """Asks all the while; yields its statuses."""
    found, is_over = [], threading.Event()

    def work():
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not is_over.is_set():
                found.append(http.post("/v1/chat/completions", json=CHAT).status_code)
                time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES)
def test_requests_made_from_our_document_get_the_answers_it_names(server, route, mode):
    schema = schemathesis.openapi.from_dict(httpx.get(f"{server.url}/openapi.json", timeout=60).json())

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=max(10, NUMBER // 2 // (2 * len(ROUTES))),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[route]["POST"].as_strategy(mode))
    def send(case):
        case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=60)  # it raises, and shows the request

    with an_honest_client(server) as honest:
        send()

    assert set(honest) == {200}
    assert "Traceback" not in "".join(server.log)


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


def test_requests_that_make_no_sense_break_nothing(server):
    rng = random.Random(SEED)
    print(f"seed {SEED}")  # noqa: T201 - to run it again

    async def fuzz(port):
        found, left = [], iter(range(NUMBER // 2))

        async def work():
            for _ in left:
                found.append(await ask(port, mutated(rng, CHAT)))  # noqa: PERF401 - several tasks take from one list

        honest = asyncio.create_task(crowd(port, 100, 2))
        await asyncio.gather(*(work() for _ in range(16)))
        return found, await honest

    found, honest = asyncio.run(fuzz(server.port))

    assert statuses(honest) == {200: 100}
    assert set(statuses(found)) <= {200, 400, 413, 422, 424}, statuses(found)
    assert "Traceback" not in "".join(server.log)
