"""The gateway over engines that hang, fail or are full: what a client sees and what the log says."""

import asyncio
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from llmops_serve.retrieve import Retriever
from llmops_shared.contracts import Exchange
from llmops_shared.contracts.retrieval import RetrievalSettings
from llmops_shared.retrieval.store import FoundChunk
from support.serving import ScriptedEngine, fail, hang, make_gateway, scripted, serving, settings

PROMPT = {"inputs": "What does", "parameters": {"max_new_tokens": 4}}
CHAT = {"messages": [{"role": "user", "content": "What does chain do?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture
def serve(folder):
    """Starts a server over scripted engines: `with serve(production=..., shadow=...) as http`."""

    def start(gateway_options=None, server_options=None, **engines):
        config = settings(**(server_options or {}))
        return Client(serving(lambda: scripted(make_gateway(folder, engines, **(gateway_options or {})), config), config))

    return start


class Client:
    """The server's context, as a client of it."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.http = httpx.Client(base_url=self.server.__enter__(), timeout=10)
        return self.http

    def __exit__(self, *error):
        self.http.close()
        self.server.__exit__(*error)


def read_log(folder):
    lines = [line for file in sorted(Path(folder).rglob("*.jsonl")) for line in file.read_text().splitlines()]
    return [Exchange.model_validate_json(line) for line in lines]


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "did not happen within 5 s"
        time.sleep(0.005)


def test_request_and_copy_are_two_exchanges_with_one_id(serve, tmp_path):
    with serve({"capture_uri": str(tmp_path)}, production=ScriptedEngine(), shadow=ScriptedEngine([" five"])) as http:
        answer = http.post("/v1/chat/completions", json={**CHAT, "metadata": {"row_id": "7"}}, headers={"x-request-id": "window-7"})

    live, copy = sorted(read_log(tmp_path), key=lambda exchange: exchange.shadow)
    assert answer.json()["choices"][0]["message"]["content"] == " one two three four"
    assert (live.request_id, live.variant, live.shadow, live.response) == ("window-7", "production", False, " one two three four")
    assert (copy.request_id, copy.variant, copy.shadow, copy.response) == ("window-7", "shadow", True, " five")
    assert live.metadata == copy.metadata == {"row_id": "7"}
    assert live.time == copy.time
    assert (live.num_response_tokens, live.finish_reason, live.route) == (4, "length", "/v1/chat/completions")
    assert live.messages[0].content == "What does chain do?"
    assert live.latency_ms >= live.first_token_ms > 0


def test_a_shadow_that_hangs_neither_delays_nor_changes_the_answer(serve, tmp_path):
    hanging = ScriptedEngine(before_each=hang)
    options = {"capture_uri": str(tmp_path), "max_shadow_queue": 3}
    with serve(options, {"max_batch_size": 2}, production=ScriptedEngine(), shadow=hanging) as http:
        started = time.monotonic()
        texts = {http.post("/generate", json=PROMPT).json()["generated_text"] for _ in range(20)}
        took = time.monotonic() - started
        metrics = http.get("/metrics").text

    assert texts == {" one two three four"}
    assert took < 5
    assert "llmops_shadow_dropped 15\n" in metrics  # 2 under way, 3 waiting
    assert [exchange.variant for exchange in read_log(tmp_path)] == ["production"] * 20


def test_a_shadow_that_fails_is_recorded_and_not_seen(serve, tmp_path):
    with serve({"capture_uri": str(tmp_path)}, production=ScriptedEngine(), shadow=ScriptedEngine(before_each=fail)) as http:
        assert http.post("/generate", json=PROMPT).status_code == 200
        assert http.get("/health").status_code == 200

    copy = next(exchange for exchange in read_log(tmp_path) if exchange.shadow)
    assert (copy.finish_reason, copy.error, copy.response) == ("error", "out of memory", "")


def test_copies_that_wait_are_answered_before_the_server_ends(serve, tmp_path):
    release = threading.Event()
    slow = ScriptedEngine(before_each=lambda: asyncio.to_thread(release.wait, 5))
    with serve(
        {"capture_uri": str(tmp_path)}, {"max_batch_size": 1, "drain_timeout_s": 5}, production=ScriptedEngine(), shadow=slow
    ) as http:
        for _ in range(3):
            http.post("/generate", json=PROMPT)
        threading.Timer(0.5, release.set).start()  # by then the server is ending

    assert sorted(exchange.variant for exchange in read_log(tmp_path)) == ["production"] * 3 + ["shadow"] * 3


def test_a_model_that_fails_is_a_generation_error_and_recorded(serve, tmp_path):
    with serve({"capture_uri": str(tmp_path)}, production=ScriptedEngine(before_each=fail)) as http:
        plain = http.post("/generate", json=PROMPT)
        stream = http.post("/v1/chat/completions", json={**CHAT, "stream": True})

    assert (plain.status_code, plain.json()["error_type"]) == (424, "generation")
    assert stream.status_code == 424
    assert [exchange.error for exchange in read_log(tmp_path)] == ["out of memory"] * 2


def test_a_model_that_fails_in_mid_stream_ends_the_stream_with_an_error(serve):
    calls = iter([None, None, fail])
    engine = ScriptedEngine(before_each=lambda: (next(calls) or (lambda: None))())
    with serve(production=engine) as http:
        lines = http.post("/generate_stream", json=PROMPT).text.strip().splitlines()

    assert '"text":" two"' in lines[2]
    assert lines[-1] == 'data: {"error":"Request failed during generation: out of memory","error_type":"generation"}'


def test_a_full_engine_refuses_with_429_and_says_when_to_come_back(serve, tmp_path):
    engine = ScriptedEngine(max_requests=1)
    with serve({"capture_uri": str(tmp_path)}, production=engine) as http:
        release = threading.Event()
        engine.before_each = lambda: asyncio.to_thread(release.wait, 5)
        first = threading.Thread(target=http.post, args=["/generate"], kwargs={"json": PROMPT})
        first.start()
        wait_for(lambda: engine.num_running == 1)
        refused = http.post("/v1/chat/completions", json={**CHAT, "stream": True})
        release.set()
        first.join()

    assert (refused.status_code, refused.json()) == (429, {"error": "Model is overloaded", "error_type": "overloaded"})
    assert refused.headers["retry-after"] == "1"
    assert len(read_log(tmp_path)) == 1


@pytest.mark.parametrize("route", ["/generate", "/generate_stream"])
def test_a_client_that_goes_away_before_the_first_token_ends_the_generation(serve, tmp_path, route):
    engine = ScriptedEngine(before_each=hang)
    with serve({"capture_uri": str(tmp_path)}, production=engine) as http:
        with pytest.raises(httpx.ReadTimeout):
            http.post(route, json=PROMPT, timeout=0.3)
        wait_for(lambda: engine.num_cancelled == 1)

    assert engine.num_running == 0
    assert [exchange.error for exchange in read_log(tmp_path)] == ["the client went away"]


def test_a_client_that_goes_away_in_mid_stream_ends_the_generation(serve, tmp_path):
    engine = ScriptedEngine(words=[" word"] * 1000, before_each=lambda: asyncio.sleep(0.01))
    with serve({"capture_uri": str(tmp_path)}, production=engine) as http:
        with http.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            next(response.iter_lines())
        wait_for(lambda: engine.num_cancelled == 1)

    exchange = read_log(tmp_path)[0]
    assert exchange.error == "the client went away"
    assert 0 < exchange.num_response_tokens < 1000


def test_a_request_under_way_is_answered_before_the_server_ends(serve):
    engine = ScriptedEngine(before_each=lambda: asyncio.sleep(0.1))
    answers = []
    server = serve(server_options={"drain_timeout_s": 5}, production=engine).server
    with httpx.Client(timeout=10) as http:
        with server as url:
            thread = threading.Thread(target=lambda: answers.append(http.post(f"{url}/generate", json=PROMPT).json()))
            thread.start()
            wait_for(lambda: engine.num_running == 1)
        thread.join()

    assert answers == [{"generated_text": " one two three four"}]


def test_only_the_sample_is_kept_and_always_with_its_copy(serve, tmp_path):
    with serve({"capture_uri": str(tmp_path), "sample_rate": 0.5}, production=ScriptedEngine(), shadow=ScriptedEngine()) as http:
        for number in range(40):
            http.post("/generate", json=PROMPT, headers={"x-request-id": f"r{number}"})

    live = {exchange.request_id for exchange in read_log(tmp_path) if not exchange.shadow}
    copied = {exchange.request_id for exchange in read_log(tmp_path) if exchange.shadow}
    assert live == copied
    assert 8 < len(live) < 32


def test_prompts_and_answers_are_not_in_the_log_of_the_server(serve, tmp_path, caplog):
    caplog.set_level("DEBUG")
    with serve(
        {"capture_uri": str(tmp_path)}, production=ScriptedEngine(before_each=fail), shadow=ScriptedEngine([" secret answer"])
    ) as http:
        http.post("/generate", json={"inputs": "a secret question"})
        http.post("/generate", json={"inputs": "a secret question", "parameters": {"best_of": 3}})

    assert "secret" not in caplog.text


class Found(NamedTuple):
    chunks: list[FoundChunk]
    embedding_ms: float
    search_ms: float


class SmallIndex:
    """Finds the chunks that share a word with the question."""

    CHUNKS = (FoundChunk("c1", "d1", "chain returns an iterator", 0.0), FoundChunk("c2", "d2", "copytree copies a tree", 0.0))

    def search(self, question, num_chunks, search, filters, num_candidates):
        words = set(question.lower().strip("?").split())
        scored = [chunk._replace(score=len(words & set(chunk.text.split())) / 4) for chunk in self.CHUNKS]
        return Found(sorted((chunk for chunk in scored if chunk.score), key=lambda chunk: -chunk.score)[:num_chunks], 1.5, 2.5)

    def close(self): ...


def test_context_is_put_before_the_question_cited_and_recorded(serve, tmp_path):
    engine, shadow = ScriptedEngine(), ScriptedEngine()
    options = {"capture_uri": str(tmp_path), "retriever": Retriever(SmallIndex(), "i" * 64, RetrievalSettings()), "context": 128}
    with serve(options, production=engine, shadow=shadow) as http:
        plain = http.post("/v1/chat/completions", json=CHAT).json()
        answer = http.post("/v1/chat/completions", json={**CHAT, "retrieval": True}).json()
        stream = http.post("/v1/chat/completions", json={**CHAT, "retrieval": True, "stream": True}).text

    assert "retrieval" not in plain
    assert "Context:\nchain returns an iterator\n\nQuestion: What does chain do?" in engine.prompts[1].text
    assert shadow.prompts[1].text == engine.prompts[1].text
    cited = answer["retrieval"]["chunks"]
    assert [(one["chunk_id"], one["document_id"], one["score"]) for one in cited] == [("c1", "d1", 0.25)]
    assert stream.count('"chunk_id":"c1"') == 1
    traces = [exchange.retrieval for exchange in read_log(tmp_path) if exchange.retrieval]
    assert len(traces) == 4  # two requests, and their copies
    assert {(trace.index_sha256, trace.embedding_ms, trace.search_ms) for trace in traces} == {("i" * 64, 1.5, 2.5)}
    assert traces[0].chunks[0].num_tokens == cited[0]["num_tokens"]


def test_context_never_takes_the_room_of_the_answer(serve):
    engine = ScriptedEngine()
    options = {"retriever": Retriever(SmallIndex(), "i" * 64, RetrievalSettings()), "context": 40}
    with serve(options, production=engine) as http:
        answer = http.post("/v1/chat/completions", json={**CHAT, "retrieval": True, "max_tokens": 20})

    assert answer.status_code == 200
    assert answer.json()["retrieval"]["chunks"] == []
    assert len(engine.prompts[0].token_ids) + 20 <= 40
