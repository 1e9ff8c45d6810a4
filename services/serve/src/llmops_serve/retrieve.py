"""Context for a question, from the endpoint's index."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)


class Chunk(Protocol):
    """A chunk of the index."""

    @property
    def chunk_id(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...


class Found(Protocol):
    """What a search gives; times are in milliseconds."""

    @property
    def chunks(self) -> Sequence[Chunk]: ...
    @property
    def embedding_ms(self) -> float: ...
    @property
    def search_ms(self) -> float: ...


class Searcher(Protocol):
    """An open index of `llmops_shared.retrieval`."""

    def search(self, question: str, num_chunks: int) -> Found: ...
    def close(self) -> None: ...


class Context(NamedTuple):
    """Chunks for one question, best first."""

    index_sha256: str
    found: Found


class Retriever:
    """Searches the index of an endpoint."""

    def __init__(self, searcher: Searcher, index_sha256: str, num_chunks: int) -> None:
        self._searcher = searcher
        self._index_sha256 = index_sha256
        self._num_chunks = num_chunks

    async def context(self, question: str) -> Context:
        """The chunks nearest to the question. Raises LlmopsError when the index does not answer."""
        found = await asyncio.to_thread(self._searcher.search, question, self._num_chunks)
        return Context(self._index_sha256, found)

    def close(self) -> None:
        """Leaves the index."""
        self._searcher.close()


def open_retriever(uri: str, index_sha256: str, num_chunks: int) -> Retriever:
    """Opens an index. Raises LlmopsError when it cannot be searched."""
    from llmops_shared.retrieval.search import open_index

    return Retriever(open_index(uri), index_sha256, num_chunks)
