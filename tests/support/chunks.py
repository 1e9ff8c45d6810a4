"""Chunks in a store, as preprocess writes them, for tests of what searches there."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmops_shared.retrieval.store import StoredChunk, open_store


def chunks_of(texts: Sequence[str], document_ids: Sequence[str], metadata: Sequence[dict[str, str]] | None = None) -> list[StoredChunk]:
    """One chunk a document."""
    found = metadata or [{} for _ in texts]
    return [
        StoredChunk(f"{name}:0", name, text, f"python:3.11.7/{name}", name, values)
        for text, name, values in zip(texts, document_ids, found, strict=True)
    ]


def chunk_lines(chunks: Sequence[StoredChunk]) -> bytes:
    """The part `chunks.jsonl` of an index."""
    return "".join(json.dumps(chunk._asdict()) + "\n" for chunk in chunks).encode()


def fill_store(uri: str, folder: str, generation: str, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32] | None) -> None:
    """Writes a generation and leaves the store."""
    store = open_store(uri, folder, create=True)
    try:
        store.write(generation, chunks, vectors)
    finally:
        store.close()
