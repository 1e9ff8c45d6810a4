"""The reranker port: a model that reads the question and a chunk together and says how well they fit."""

from collections.abc import Sequence
from typing import Protocol

from llmops_shared.contracts import retrieval
from llmops_shared.retrieval.store import FoundChunk


class Reranker(Protocol):
    """Orders what a search found."""

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, in the order of the texts. Raises LlmopsError when there is no answer."""


def open_reranker(description: retrieval.Reranker) -> Reranker:
    """The reranker that an Endpoint document names."""
    match description.kind:
        case "cross-encoder":
            from llmops_shared.retrieval.cross_encoder import CrossEncoderReranker

            return CrossEncoderReranker(description.model)
        case "tei":
            from llmops_shared.retrieval.tei import TeiReranker

            return TeiReranker(description.url)
        case "bedrock":
            from llmops_shared.retrieval.bedrock import BedrockReranker

            return BedrockReranker(description.model, description.url)


def reranked(reranker: Reranker, question: str, chunks: Sequence[FoundChunk]) -> list[FoundChunk]:
    """The chunks with their new scores, best first; equal ones stay as they were."""
    if not chunks:
        return []
    scored = zip(chunks, reranker.scores(question, [chunk.text for chunk in chunks]), strict=True)
    return sorted((chunk._replace(rerank_score=score) for chunk, score in scored), key=lambda chunk: -(chunk.rerank_score or 0.0))
