"""Context for a question: searched in the endpoint's index, ordered anew where there is a reranker, as the endpoint's settings say."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmops_shared.contracts.retrieval import RetrievalSettings, Search

if TYPE_CHECKING:
    from llmops_shared.retrieval.store import FoundChunk  # which loads numpy, and a gateway without an index needs none

Filters = Mapping[str, Sequence[str]]


class Found(Protocol):
    """What a search gives; times are in milliseconds."""

    @property
    def chunks(self) -> "Sequence[FoundChunk]": ...
    @property
    def embedding_ms(self) -> float: ...
    @property
    def search_ms(self) -> float: ...


class Searcher(Protocol):
    """An open index of `llmops_shared.retrieval`."""

    def search(self, question: str, num_chunks: int, search: Search | None, filters: Filters | None, num_candidates: int) -> Found: ...
    def close(self) -> None: ...


class Reranker(Protocol):
    """A reranker of `llmops_shared.retrieval`."""

    def scores(self, question: str, texts: Sequence[str]) -> list[float]: ...


class Context(NamedTuple):
    """Chunks for one question, best first."""

    index_sha256: str
    settings: RetrievalSettings
    chunks: "Sequence[FoundChunk]"
    embedding_ms: float
    search_ms: float
    rerank_ms: float | None = None


class Retriever:
    """Searches one index in one way. Any number of requests may ask at once."""

    def __init__(self, searcher: Searcher, index_sha256: str, settings: RetrievalSettings, reranker: Reranker | None = None) -> None:
        self._searcher = searcher
        self._index_sha256 = index_sha256
        self._settings = settings
        self._reranker = reranker

    async def context(self, question: str, filters: Filters | None = None, num_chunks: int | None = None) -> Context:
        """The chunks that fit the question; `filters` narrow the endpoint's own, and never widen them.

        Raises LlmopsError when the index or the reranker does not answer.
        """
        return await asyncio.to_thread(self._find, question, narrowed(self._settings.filters, filters or {}), num_chunks)

    def _find(self, question: str, filters: Filters, num_chunks: int | None) -> Context:
        settings = self._settings
        wanted = num_chunks or settings.num_chunks
        if not all(filters.values()):  # two filters that exclude each other
            return Context(self._index_sha256, settings, [], 0.0, 0.0)
        num_searched = max(wanted, settings.num_candidates) if self._reranker else wanted
        found = self._searcher.search(question, num_searched, settings.search, filters, settings.num_candidates)
        chunks = [chunk for chunk in found.chunks if settings.min_score is None or chunk.score >= settings.min_score]
        rerank_ms = None
        if self._reranker is not None:
            from llmops_shared.retrieval.rerank import reranked

            begin = time.perf_counter()
            chunks = reranked(self._reranker, question, chunks)
            rerank_ms = (time.perf_counter() - begin) * 1000
        return Context(self._index_sha256, settings, chunks[:wanted], found.embedding_ms, found.search_ms, rerank_ms)

    def close(self) -> None:
        """Leaves the index."""
        self._searcher.close()


def narrowed(ours: Filters, asked: Filters) -> dict[str, list[str]]:
    """What passes both; a key without any value lets nothing pass."""
    both = {key: [value for value in values if key not in asked or value in asked[key]] for key, values in ours.items()}
    return both | {key: list(values) for key, values in asked.items() if key not in ours}


def open_retriever(uri: str, index_sha256: str, settings: RetrievalSettings) -> Retriever:
    """Opens an index and its reranker. Raises LlmopsError when it cannot be searched in this way."""
    from llmops_shared.retrieval.search import open_index

    searcher = open_index(uri)
    try:
        if settings.search is not None:
            searcher.search("a", 1, settings.search)  # Kendra, for one, does not know every way
        reranker = None
        if settings.reranker is not None:
            from llmops_shared.retrieval.rerank import open_reranker

            reranker = open_reranker(settings.reranker)
    except BaseException:
        searcher.close()
        raise
    return Retriever(searcher, index_sha256, settings, reranker)
