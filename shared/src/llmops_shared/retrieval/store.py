"""The vector-store port: generations of chunks, written whole and searched by vector, by words, or by both."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_shared.contracts.retrieval import Search
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import kind_of

Floats = NDArray[np.float32]
Filters = Mapping[str, Sequence[str]]
"""Values that the metadata may have, by key; a chunk must fit every key."""


NO_FILTERS: Filters = {}


class StoredChunk(NamedTuple):
    """A chunk as an index keeps it."""

    chunk_id: str
    document_id: str
    text: str
    source: str
    """What the document was read from."""
    title: str
    """First line of the document, or its name."""
    metadata: Mapping[str, str]
    """What the source knows of the document; searches filter by it."""


class FoundChunk(NamedTuple):
    """A chunk that answers a query."""

    chunk_id: str
    document_id: str
    text: str
    score: float
    """Cosine similarity, -1 to 1; of Kendra its confidence, 0 to 1."""
    source: str = ""
    title: str = ""
    metadata: Mapping[str, str] = {}
    rerank_score: float | None = None


class Query(NamedTuple):
    """What is searched."""

    text: str
    vector: Floats | None
    """Unit length; None or zero: there is none, and only words are searched."""
    num_chunks: int
    search: Search | None = None
    """None: the store's best, which is hybrid where the store knows both."""
    filters: Filters = NO_FILTERS
    num_candidates: int = 50
    """Chunks in each list of a hybrid search."""

    @property
    def has_vector(self) -> bool:
        """Whether there is something to be near to."""
        return self.vector is not None and bool(self.vector.any())


class ChunkStore(Protocol):
    """Holds any number of generations, each complete or absent. Methods but `write` may be called from many threads."""

    def write(self, generation: str, chunks: Sequence[StoredChunk], vectors: Floats | None) -> None:
        """Fills a generation and returns when all of it can be found; what an earlier try left under its name is dropped.

        `vectors` has shape [num_chunks, num_dimensions]; None where the store reads the text itself. Raises LlmopsError.
        """

    def problem(self, generation: str, chunk_ids: Sequence[str]) -> str | None:
        """What a generation of these chunks lacks; None when it is whole."""

    def search(self, generation: str, query: Query) -> list[FoundChunk]:
        """The chunks that fit best, best first. Raises LlmopsError when the store does not answer."""

    def drop(self, generation: str, chunk_ids: Sequence[str]) -> None:
        """Removes a generation, if it is there."""

    def close(self) -> None:
        """Leaves the store."""


def open_store(uri: str, folder: str, create: bool = False) -> ChunkStore:
    """The store at a URI; `folder` is the one of the index. `create` makes an embedded database where there is none."""
    match kind_of(uri):
        case "pgvector":
            from llmops_shared.retrieval.database import Database
            from llmops_shared.retrieval.pgvector import PgVector

            return PgVector(Database(uri, folder, create))
        case "opensearch":
            from llmops_shared.retrieval.opensearch import OpenSearchServerless

            return OpenSearchServerless(uri)
        case "kendra":
            from llmops_shared.retrieval.kendra import Kendra

            return Kendra(uri)


def need_vectors(vectors: Floats | None, uri: str, num_chunks: int) -> Floats:
    """The vectors of a store that searches them. Raises LlmopsError when there are none."""
    if vectors is None:
        raise LlmopsError(f"store {uri}: searches vectors, and embedder none makes no vectors; choose another embedder.kind")
    assert len(vectors) == num_chunks
    return vectors
