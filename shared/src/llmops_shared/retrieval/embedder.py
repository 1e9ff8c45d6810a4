"""The embedder port: text to vectors, the same at index and at query time."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_shared.contracts import index

Floats = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors."""

    num_dimensions: int
    """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors of shape [num_texts, num_dimensions] and length 1; zero for a text without any word that is known."""


def open_embedder(description: index.Embedder, uri: str) -> Embedder:
    """The embedder of the RetrievalIndex at `uri`."""
    match description.kind:
        case "lsa":
            from llmops_shared.retrieval.lsa import load_lsa

            return load_lsa(description.files, uri)
        case "sentence-transformers":
            from llmops_shared.retrieval.sentences import SentenceEmbedder

            return SentenceEmbedder(description.model)
