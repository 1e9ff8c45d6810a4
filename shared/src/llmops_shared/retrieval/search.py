"""Search in a finished RetrievalIndex. Its imports take half a second: a service imports it when it opens an index."""

import time
from typing import NamedTuple, Self

from llmops_shared.contracts import RetrievalIndex
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.database import Database
from llmops_shared.retrieval.embedder import Embedder, open_embedder
from llmops_shared.retrieval.pgvector import FoundChunk, count_rows, search
from llmops_shared.store import folder_of

__all__ = ["FoundChunk", "SearchResult", "Searcher", "open_index"]


class SearchResult(NamedTuple):
    """What was found for a question, and how long it took."""

    chunks: list[FoundChunk]
    """Best first; none when the embedder knows no word of the question."""
    embedding_ms: float
    search_ms: float


class Searcher:
    """An open index. Any number of threads may search at once."""

    def __init__(self, document: RetrievalIndex, embedder: Embedder, database: Database) -> None:
        self.document = document
        self._embedder = embedder
        self._database = database

    def search(self, question: str, num_chunks: int) -> SearchResult:
        """The `num_chunks` chunks nearest to the question."""
        begin = time.perf_counter()
        vector = self._embedder.embed([question])[0]
        embedded = time.perf_counter()
        chunks = search(self._database, self.document.store.table, vector, num_chunks)
        end = time.perf_counter()
        return SearchResult(chunks, embedding_ms=(embedded - begin) * 1000, search_ms=(end - embedded) * 1000)

    def close(self) -> None:
        """Leaves the vector store; an embedded server stops with its last user."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_index(uri: str) -> Searcher:
    """Opens a RetrievalIndex by its URI or folder.

    Raises LlmopsError when the document, a file of its embedder or its table is missing, or the store does not answer.
    """
    document = read_document(uri, RetrievalIndex)
    place = document_uri(uri, RetrievalIndex)
    embedder = open_embedder(document.embedder, place)
    searcher = Searcher(document, embedder, Database(document.store.uri, folder_of(place)))
    try:
        check_table(document, place, searcher._database)
    except BaseException:
        searcher.close()
        raise
    return searcher


def check_table(document: RetrievalIndex, place: str, database: Database) -> None:
    """The store must hold what the document says; vectors are in no other place."""
    num_rows = count_rows(database, document.store.table)
    if num_rows != document.num_chunks:
        found = "no such table" if num_rows is None else f"{num_rows} rows"
        raise LlmopsError(
            f"{place}: its store {document.store.uri} has {found} as {document.store.table}, where {document.num_chunks} chunks should be; "
            f"run `llmops-preprocess index` again into a new folder"
        )
