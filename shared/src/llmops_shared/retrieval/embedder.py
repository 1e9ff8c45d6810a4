"""The embedder port: text to vectors, the same at index and at query time."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_shared.contracts import index
from llmops_shared.errors import LlmopsError

Floats = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors."""

    num_dimensions: int
    """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors of shape [num_texts, num_dimensions] and length 1; zero for a text without any word that is known."""

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        """The same for what is searched with; some models tell questions from documents."""


def open_embedder(description: index.Embedder, uri: str) -> Embedder:
    """The embedder of the RetrievalIndex at `uri`. Raises LlmopsError when it has none."""
    match description.kind:
        case "lsa":
            from llmops_shared.retrieval.lsa import load_lsa

            return load_lsa(description.files, uri)
        case "sentence-transformers":
            from llmops_shared.retrieval.sentences import SentenceEmbedder

            return SentenceEmbedder(description.model)
        case "none":
            raise LlmopsError(f"{uri}: has no embedder, for its store reads the text itself; what needs vectors cannot be done with it")
        case "tei" | "sagemaker" | "bedrock":
            return open_remote(description.kind, description.model, description.url, description.region, description.num_dimensions)


def open_remote(kind: str, model: str, url: str, region: str, num_dimensions: int | None) -> Embedder:
    """An embedder that somebody serves; `num_dimensions` 0 or None: as many as it has."""
    match kind:
        case "tei":
            from llmops_shared.retrieval.tei import TeiEmbedder

            return TeiEmbedder(url, num_dimensions)
        case "sagemaker":
            from llmops_shared.retrieval.sagemaker import SageMakerEmbedder

            return SageMakerEmbedder(model, region, num_dimensions)
        case _:
            from llmops_shared.retrieval.bedrock import BedrockEmbedder

            return BedrockEmbedder(model, region, num_dimensions)
