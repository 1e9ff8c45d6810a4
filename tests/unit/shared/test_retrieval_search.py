"""Search in a finished index, over a real PostgreSQL."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from llmops_shared.contracts import Reference, RetrievalIndex, index
from llmops_shared.documents import store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.database import Database
from llmops_shared.retrieval.lsa import fit_lsa
from llmops_shared.retrieval.pgserver import EmbeddedServer
from llmops_shared.retrieval.search import open_index
from support.chunks import chunk_lines, chunks_of, fill_store

TEXTS = {
    "shutil.copytree": "function shutil.copytree(src, dst)\nRecursively copy a directory tree and return the destination directory.",
    "shutil.rmtree": "function shutil.rmtree(path)\nRecursively delete a directory tree.",
    "json.dumps": "function json.dumps(obj)\nSerialize an object to a JSON formatted string.",
    "collections.OrderedDict": "class collections.OrderedDict\nDictionary that remembers insertion order.",
    "os.path.join": "function os.path.join(path, *paths)\nJoin path components; see shutil.copytree to copy what is below.",
    "math.sqrt": "function math.sqrt(x)\nReturn the square root of x. Größe, naïve, 日本語.",
}
CHUNKS = chunks_of(list(TEXTS.values()), list(TEXTS))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("server") / "pgdata", create=True)
    yield server
    server.close()


@pytest.fixture
def store_uri(server: EmbeddedServer) -> str:
    """A PostgreSQL server of yours, as its URI names it."""
    return f"postgresql://llmops@/postgres?host={quote(str(server.data), safe='')}&port=5432"


def write_index(folder: str, scratch: Path, store_uri: str, table: str = "library") -> RetrievalIndex:
    """An index of TEXTS as preprocess writes it."""
    embedder, vectors = fit_lsa(list(TEXTS.values()), 96, seed=0)
    scratch.mkdir(exist_ok=True)
    document = RetrievalIndex(
        name="library",
        dataset=Reference(uri="../text/dataset.json", sha256="0" * 64),
        num_documents=len(TEXTS),
        num_chunks=len(TEXTS),
        max_chunk_tokens=96,
        chunks=store_part(folder, "chunks.jsonl", chunk_lines(CHUNKS)),
        embedder=index.Embedder(
            kind="lsa",
            model="",
            files=[store_part(folder, f"embedder/{path.name}", path) for path in embedder.save(scratch)],
            num_dimensions=96,
        ),
        store=index.VectorStore(uri=store_uri, table=table),
    )
    fill_store(store_uri, folder, table, CHUNKS, vectors)
    write_document(folder, document)
    return document


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index with its embedded database, in a folder with a space."""
    scratch = tmp_path_factory.mktemp("library")
    folder = str(scratch / "an index")
    write_index(folder, scratch / "files", "pgserver:pgdata")
    return folder


def test_chunks_come_best_first_with_their_cosine(library: str) -> None:
    with open_index(library) as searcher:
        result = searcher.search("What does shutil.copytree do?", 3, search="vector")

    assert [chunk.document_id for chunk in result.chunks][:2] == ["shutil.copytree", "os.path.join"]
    best = result.chunks[0]
    assert (best.chunk_id, best.text) == ("shutil.copytree:0", TEXTS["shutil.copytree"])
    scores = [chunk.score for chunk in result.chunks]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(cosine("What does shutil.copytree do?", TEXTS["shutil.copytree"]), abs=0.002)
    assert 0 < result.embedding_ms < 1000
    assert 0 < result.search_ms < 5000


def cosine(question: str, text: str) -> float:
    embedder, _ = fit_lsa(list(TEXTS.values()), 96, seed=0)
    first, second = embedder.embed([question, text])
    return float(np.dot(first, second))


def test_more_chunks_than_there_are_gives_all_and_unknown_words_none(library: str) -> None:
    with open_index(library) as searcher:
        assert len(searcher.search("directory", 100, search="vector").chunks) == len(TEXTS)
        assert searcher.search("zzz qqq", 3).chunks == []


def test_text_beyond_ascii_comes_back_whole(library: str) -> None:
    with open_index(library) as searcher:
        assert searcher.search("Größe 日本語", 1).chunks[0].text == TEXTS["math.sqrt"]


def test_eight_threads_get_what_one_gets(library: str) -> None:
    questions = [f"What does {name} do?" for name in TEXTS] * 10
    with open_index(library) as searcher:
        alone = [searcher.search(question, 3).chunks for question in questions]
        together: dict[int, object] = {}

        def ask(start: int) -> None:
            for place in range(start, len(questions), 8):
                together[place] = searcher.search(questions[place], 3).chunks

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [together[place] for place in range(len(questions))] == alone


def test_an_open_index_answers_again_after_its_server_was_killed(library: str) -> None:
    with open_index(library) as searcher:
        before = searcher.search("delete a directory tree", 3).chunks

        os.kill(int(Path(library, "pgdata/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)

        assert searcher.search("delete a directory tree", 3).chunks == before


def test_closing_stops_the_server(library: str) -> None:
    searcher = open_index(library)
    assert Path(library, "pgdata/data/postmaster.pid").exists()

    searcher.close()

    assert not Path(library, "pgdata/data/postmaster.pid").exists()


def test_an_index_lives_at_any_uri_when_postgresql_is_elsewhere(root: str, tmp_path: Path, store_uri: str) -> None:
    write_index(f"{root}/index", tmp_path / "files", store_uri)

    with open_index(f"{root}/index") as searcher:
        assert searcher.search("square root", 1).chunks[0].document_id == "math.sqrt"


def test_an_index_copied_without_its_database_says_so(library: str, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(library, copied, ignore=shutil.ignore_patterns("pgdata"))

    with pytest.raises(LlmopsError, match=r"copied/pgdata: there is no database .* run `llmops-preprocess index` again into a new folder"):
        open_index(str(copied))


def test_a_missing_or_incomplete_table_is_named(tmp_path: Path, store_uri: str) -> None:
    folder = str(tmp_path / "index")
    write_index(folder, tmp_path / "files", store_uri, table="broken")
    with Database(store_uri, folder) as database, database.connection() as connection:
        connection.execute("DELETE FROM broken WHERE document_id = 'math.sqrt'")
    with pytest.raises(LlmopsError, match=r"has 5 rows as broken, where 6 chunks should be; run `llmops-preprocess index`"):
        open_index(folder)

    with Database(store_uri, folder) as database, database.connection() as connection:
        connection.execute("DROP TABLE broken")
    with pytest.raises(LlmopsError, match="has no such table as broken"):
        open_index(folder)
