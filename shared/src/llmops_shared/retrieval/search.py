"""Search in a finished RetrievalIndex. Its imports take half a second: a service imports it when it opens an index."""

import json
import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from llmops_shared.contracts import RetrievalIndex
from llmops_shared.contracts.retrieval import Search
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.embedder import Embedder, open_embedder
from llmops_shared.retrieval.store import ChunkStore, Filters, FoundChunk, Query, open_store
from llmops_shared.store import folder_of

__all__ = ["FoundChunk", "SearchResult", "Searcher", "open_index"]


class SearchResult(NamedTuple):
    """What was found for a question, and how long it took."""

    chunks: list[FoundChunk]
    """Best first; none when no word of the question is known."""
    embedding_ms: float
    search_ms: float


class Searcher:
    """An open index. Any number of threads may search at once."""

    def __init__(self, document: RetrievalIndex, embedder: Embedder | None, store: ChunkStore) -> None:
        """`embedder` is None where the store reads the text itself."""
        self.document = document
        self._embedder = embedder
        self._store = store

    def search(
        self, question: str, num_chunks: int, search: Search | None = None, filters: Filters | None = None, num_candidates: int = 50
    ) -> SearchResult:
        """The `num_chunks` chunks that fit the question best; `search` None: the store's best way."""
        begin = time.perf_counter()
        needed = self._embedder is not None and question.strip()
        vector = self._embedder.embed_questions([question])[0] if self._embedder and needed else None
        embedded = time.perf_counter()
        query = Query(question, vector, num_chunks, search, filters or {}, num_candidates)
        chunks = self._store.search(self.document.store.table, query)
        end = time.perf_counter()
        return SearchResult(chunks, embedding_ms=(embedded - begin) * 1000, search_ms=(end - embedded) * 1000)

    def close(self) -> None:
        """Leaves the vector store; an embedded server stops with its last user."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_index(uri: str) -> Searcher:
    """Opens a RetrievalIndex by its URI or folder: a generation that is complete, or none.

    Raises LlmopsError when the document, a file of its embedder or its generation is missing, or the store does not answer.
    """
    document = read_document(uri, RetrievalIndex)
    place = document_uri(uri, RetrievalIndex)
    embedder = None if document.embedder.kind == "none" else open_embedder(document.embedder, place)
    searcher = Searcher(document, embedder, open_store(document.store.uri, folder_of(place)))
    try:
        check_generation(document, place, searcher._store)
    except BaseException:
        searcher.close()
        raise
    return searcher


def check_generation(document: RetrievalIndex, place: str, store: ChunkStore) -> None:
    """The store must hold what the document says; a server that found less would answer from half an index."""
    if problem := store.problem(document.store.table, chunk_ids(document, place)):
        raise LlmopsError(f"{place}: its store {document.store.uri} has {problem}; run `llmops-preprocess index` again into a new folder")


def chunk_ids(document: RetrievalIndex, place: str) -> Sequence[str]:
    """The ids of all chunks, in order."""
    with fetch_part(place, document.chunks).open(encoding="utf-8") as lines:
        return [json.loads(line)["chunk_id"] for line in lines]
