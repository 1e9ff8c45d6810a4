"""Retrieval of an endpoint: its settings, what a request may ask, rerankers, refusals and citations."""

import asyncio
import json
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from llmops_serve.retrieve import Retriever, narrowed, open_retriever
from llmops_shared.contracts import Exchange, Reference, RetrievalIndex, index
from llmops_shared.contracts.retrieval import RetrievalSettings
from llmops_shared.documents import store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.lsa import fit_lsa
from llmops_shared.retrieval.store import FoundChunk
from support.chunks import chunk_lines, chunks_of, fill_store
from support.serving import ScriptedEngine, make_gateway, scripted, serving, settings

QUESTION = {"messages": [{"role": "user", "content": "What does chain return?"}], "max_tokens": 8}


class Found(NamedTuple):
    chunks: list[FoundChunk]
    embedding_ms: float
    search_ms: float


class SmallIndex:
    """Gives its chunks by number of shared words, and remembers how it was asked."""

    CHUNKS = (
        FoundChunk(
            "c1", "d1", "chain does return an iterator", 0.0, "python:3.11/itertools.chain", "itertools.chain", {"module": "itertools"}
        ),
        FoundChunk("c2", "d2", "copytree does copy a tree", 0.0, "python:3.11/shutil.copytree", "shutil.copytree", {"module": "shutil"}),
        FoundChunk("c3", "d3", "sqrt returns a root", 0.0, "python:3.11/math.sqrt", "math.sqrt", {"module": "math"}),
    )

    def __init__(self):
        self.asked = []

    def search(self, question, num_chunks, search, filters, num_candidates):
        self.asked.append((num_chunks, search, filters, num_candidates))
        words = set(question.lower().strip("?").split())
        passing = [chunk for chunk in self.CHUNKS if all(chunk.metadata[key] in values for key, values in filters.items())]
        scored = [chunk._replace(score=len(words & set(chunk.text.split())) / 4) for chunk in passing]
        return Found(sorted((chunk for chunk in scored if chunk.score), key=lambda chunk: -chunk.score)[:num_chunks], 1.5, 2.5)

    def close(self): ...


class LongestFirst:
    """A reranker that likes short texts least."""

    def scores(self, question, texts):
        return [-1 / len(text) for text in texts]


@pytest.fixture
def serve(tmp_path):
    """Starts a server with retrieval: `with serve(engine, search="text") as (http, small_index)`."""

    @contextmanager
    def start(engine, reranker=None, context=256, **words):
        small = SmallIndex()
        retriever = Retriever(small, "i" * 64, RetrievalSettings(**words), reranker)
        gateway = make_gateway(tmp_path, {"production": engine}, capture_uri=str(tmp_path / "log"), retriever=retriever, context=context)
        config = settings()
        with serving(lambda: scripted(gateway, config), config) as url, httpx.Client(base_url=url, timeout=10) as http:
            yield http, small

    return start


def traces(tmp_path):
    lines = [line for file in sorted(Path(tmp_path / "log").rglob("*.jsonl")) for line in file.read_text().splitlines()]
    return [Exchange.model_validate_json(line) for line in lines]


def ask(http, **words):
    return http.post("/v1/chat/completions", json={**QUESTION, "retrieval": True, **words})


def test_a_request_may_ask_for_chunks_of_its_kind_and_how_many(serve):
    with serve(ScriptedEngine(), num_chunks=2, search="text", num_candidates=20) as (http, small):
        found = [
            ask(http, retrieval=words).json()["retrieval"]["chunks"]
            for words in (
                True,
                {"num_chunks": 1},
                {"filters": {"module": "shutil"}},
                {"filters": {"module": ["shutil", "math"]}, "num_chunks": 3},
            )
        ]

    assert [[one["chunk_id"] for one in chunks] for chunks in found] == [["c1", "c2"], ["c1"], ["c2"], ["c2"]]
    assert small.asked[0] == (2, "text", {}, 20)
    assert small.asked[3] == (3, "text", {"module": ["shutil", "math"]}, 20)


def test_a_request_cannot_widen_what_the_endpoint_allows(serve):
    with serve(ScriptedEngine(), filters={"module": ["shutil", "math"]}) as (http, _):
        inside = ask(http, retrieval={"filters": {"module": ["shutil", "itertools"]}}).json()
        outside = ask(http, retrieval={"filters": {"module": "itertools"}}).json()

    assert [one["chunk_id"] for one in inside["retrieval"]["chunks"]] == ["c2"]
    assert outside["retrieval"]["chunks"] == []
    assert narrowed({"a": ["1", "2"]}, {"a": ["2", "3"], "b": ["4"]}) == {"a": ["2"], "b": ["4"]}


@pytest.mark.parametrize(
    "retrieval",
    [
        {"filter": {}},
        {"filters": {"module": []}},
        {"filters": {"module": [1]}},
        {"num_chunks": 0},
        {"num_chunks": 101},
        {"filters": {"": "x"}},
        "yes?",
    ],
)
def test_what_retrieval_cannot_do_is_refused(serve, retrieval):
    with serve(ScriptedEngine()) as (http, _):
        answer = ask(http, retrieval=retrieval)

    assert answer.status_code == 422
    assert answer.json()["error_type"] == "validation"


def test_a_reranker_reads_the_candidates_and_decides_the_order(serve, tmp_path):
    engine = ScriptedEngine()
    with serve(engine, reranker=LongestFirst(), num_chunks=1, num_candidates=30) as (http, small):
        chunks = ask(http).json()["retrieval"]["chunks"]

    assert small.asked == [(30, None, {}, 30)]
    assert [(one["chunk_id"], one["score"]) for one in chunks] == [("c1", 0.75)]
    assert chunks[0]["rerank_score"] == pytest.approx(-1 / 29)
    (exchange,) = traces(tmp_path)
    assert exchange.retrieval.rerank_ms > 0
    assert exchange.retrieval.chunks[0].rerank_score == pytest.approx(-1 / 29)
    assert (exchange.retrieval.embedding_ms, exchange.retrieval.search_ms, exchange.retrieval.num_found) == (1.5, 2.5, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_chunk_the_endpoint_refuses_and_asks_no_model(serve, tmp_path, stream):
    engine = ScriptedEngine()
    with serve(engine, min_score=0.9, when_empty="refuse", refusal="Not in my books.") as (http, _):
        answer = ask(http, stream=stream)

    assert answer.status_code == 200
    assert text_of(answer) == "Not in my books."
    assert engine.prompts == []
    (exchange,) = traces(tmp_path)
    assert (exchange.response, exchange.finish_reason, exchange.error) == ("Not in my books.", "stop", None)
    assert exchange.retrieval.refused and exchange.retrieval.chunks == [] and exchange.retrieval.num_found == 0


def text_of(answer):
    """The answer's text, streamed or not."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        chunks = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:") and "[DONE]" not in line]
        return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    return answer.json()["choices"][0]["message"]["content"]


def test_a_chunk_that_has_no_room_is_as_good_as_none(serve):
    engine = ScriptedEngine()
    with serve(engine, max_context_tokens=1, when_empty="refuse") as (http, _):
        refused = ask(http).json()

    assert refused["choices"][0]["message"]["content"] == RetrievalSettings().refusal
    assert engine.prompts == []


def test_without_a_chunk_the_model_is_asked_by_default(serve):
    engine = ScriptedEngine()
    with serve(engine, min_score=0.9) as (http, _):
        answer = ask(http).json()

    assert answer["choices"][0]["message"]["content"] == " one two three four"
    assert "Context:" not in engine.prompts[0].text
    assert answer["retrieval"]["chunks"] == []


def test_an_answer_names_its_sources_and_what_it_cites_of_them(serve):
    engine = ScriptedEngine([" As", " [1]", " and [2, 7]", " say."])
    with serve(engine, chunk_template="[{number}] {text}") as (http, _):
        answer = ask(http).json()
        stream = ask(http, stream=True).text

    assert "[1] chain does return an iterator\n\n[2] copytree does copy a tree" in engine.prompts[0].text
    assert answer["retrieval"]["cited"] == [1, 2]
    first = answer["retrieval"]["chunks"][0]
    assert first["num_tokens"] > 0
    assert {name: first[name] for name in ("number", "chunk_id", "document_id", "source", "title", "score")} == {
        "number": 1, "chunk_id": "c1", "document_id": "d1", "source": "python:3.11/itertools.chain", "title": "itertools.chain", "score": 0.75,
    }  # fmt: skip
    events = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:") and "[DONE]" not in line]
    assert [event.get("retrieval", {}).keys() for event in events] == [{"index_sha256", "chunks"}, set(), set(), {"cited"}]
    assert events[-1]["retrieval"]["cited"] == [1, 2]


def test_without_numbers_nothing_is_said_about_citations(serve):
    with serve(ScriptedEngine([" [1]"])) as (http, _):
        assert "cited" not in ask(http).json()["retrieval"]


# over a real index


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A small index in PostgreSQL."""
    folder = tmp_path_factory.mktemp("library")
    texts = [chunk.text for chunk in SmallIndex.CHUNKS]
    embedder, vectors = fit_lsa(texts, 48, seed=0)
    chunks = chunks_of(texts, ["d1", "d2", "d3"], [dict(chunk.metadata) for chunk in SmallIndex.CHUNKS])
    (folder / "files").mkdir()
    files = [store_part(str(folder), f"embedder/{path.name}", path) for path in embedder.save(folder / "files")]
    document = RetrievalIndex(
        name="library", dataset=Reference(uri="../text/dataset.json", sha256="0" * 64), num_documents=3, num_chunks=3, max_chunk_tokens=96,
        chunks=store_part(str(folder), "chunks.jsonl", chunk_lines(chunks)),
        embedder=index.Embedder(kind="lsa", model="", files=files, num_dimensions=48),
        store=index.VectorStore(uri="pgserver:pgdata", table="library"),
    )  # fmt: skip
    fill_store("pgserver:pgdata", str(folder), "library", chunks, vectors)
    write_document(str(folder), document)
    return str(folder)


def test_a_real_index_answers_as_the_settings_say(library):
    def find(filters=None, **words):
        retriever = open_retriever(library, "i" * 64, RetrievalSettings(**words))
        try:
            return asyncio.run(retriever.context("What does chain return?", filters))
        finally:
            retriever.close()

    assert find(num_chunks=1).chunks[0].document_id == "d1"
    assert find(num_chunks=1, search="text").chunks[0].document_id == "d1"
    assert [chunk.document_id for chunk in find({"module": ["math"]}).chunks] == ["d3"]
    assert find(min_score=0.999).chunks == []
    assert find(filters={"module": ["math"]}).search_ms > 0


def test_an_index_that_lost_its_reranker_is_not_opened(library):
    words = {"reranker": {"kind": "cross-encoder", "model": "/nowhere/model"}}
    with pytest.raises(LlmopsError, match="/nowhere/model: is no local folder"):
        open_retriever(library, "i" * 64, RetrievalSettings.model_validate(words))
