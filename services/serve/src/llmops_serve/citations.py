"""What an answer with context says about its sources, to the client and to the record."""

import re
from collections.abc import Sequence
from typing import Any

from llmops_serve.prompt import UsedChunk
from llmops_serve.retrieve import Context
from llmops_shared.contracts.exchange import RetrievalTrace, RetrievedChunk


def trace(context: Context | None, used: Sequence[UsedChunk], refused: bool) -> RetrievalTrace | None:
    """What retrieval did for a request; None when it was not asked for."""
    if context is None:
        return None
    return RetrievalTrace(
        index_sha256=context.index_sha256,
        chunks=[
            RetrievedChunk(
                chunk_id=one.chunk.chunk_id, score=one.chunk.score, num_tokens=one.num_tokens, rerank_score=one.chunk.rerank_score
            )
            for one in used
        ],
        embedding_ms=context.embedding_ms,
        search_ms=context.search_ms,
        rerank_ms=context.rerank_ms,
        num_found=len(context.chunks),
        refused=refused,
    )


def sources(context: Context | None, used: Sequence[UsedChunk]) -> dict[str, Any]:
    """`retrieval` of an answer: the chunks the model saw, by the numbers it can cite them by; nothing when none were asked for."""
    if context is None:
        return {}
    return {"retrieval": {"index_sha256": context.index_sha256, "chunks": [source(number, one) for number, one in enumerate(used, 1)]}}


def source(number: int, used: UsedChunk) -> dict[str, Any]:
    """One of the chunks."""
    chunk = used.chunk
    shown: dict[str, Any] = {"number": number, "chunk_id": chunk.chunk_id, "document_id": chunk.document_id}
    shown |= {name: value for name, value in (("source", chunk.source), ("title", chunk.title)) if value}
    shown |= {"score": chunk.score, "num_tokens": used.num_tokens}
    return shown if chunk.rerank_score is None else {**shown, "rerank_score": chunk.rerank_score}


def cited(context: Context | None, used: Sequence[UsedChunk], answer: str) -> dict[str, Any]:
    """`cited` of `retrieval`: the numbers of chunks that the answer names as [2] or [1, 3]; nothing where chunks have no numbers."""
    if context is None or "{number}" not in context.settings.chunk_template:
        return {}
    named = {int(number) for marks in re.findall(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]", answer) for number in marks.split(",")}
    return {"cited": sorted(number for number in named if 1 <= number <= len(used))}
