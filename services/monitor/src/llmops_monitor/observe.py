"""From exchanges to the table that is profiled, tested and drawn: the signals, and what the server says of each request."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from llmops_monitor.profile import Table
from llmops_monitor.rules.cost import cost
from llmops_monitor.rules.words import Exchanged
from llmops_monitor.sagemaker_capture import SOURCE
from llmops_monitor.signals import COST, languages, measure
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.index import RetrievalIndex
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.statistics import Floats

BLOCK = 2000
"""Exchanges looked at together: enough for arrays, few enough for any memory."""


class Prices(NamedTuple):
    """US dollars for a thousand tokens."""

    prompt: float
    response: float


def chunk_texts(index: str | None) -> dict[str, str]:
    """Chunk id to text of a RetrievalIndex; empty without one. Raises LlmopsError when its chunks are missing or damaged."""
    if index is None:
        return {}
    import json

    place = document_uri(index, RetrievalIndex)
    path = fetch_part(place, read_document(place, RetrievalIndex).chunks)
    with path.open(encoding="utf-8") as file:
        return {row["chunk_id"]: row["text"] for row in map(json.loads, file)}


def exchanged(exchange: Exchange, chunks: Mapping[str, str]) -> Exchanged:
    """The exchange as the rules see it: the last user message, the answer, and the texts of the chunks that are known."""
    prompt = next((message.content for message in reversed(exchange.messages) if message.role == "user"), "")
    context = None
    if exchange.retrieval is not None and chunks:
        context = "\n\n".join(chunks[chunk.chunk_id] for chunk in exchange.retrieval.chunks if chunk.chunk_id in chunks)
    return Exchanged(prompt, exchange.response, context, exchange.num_prompt_tokens, exchange.num_response_tokens)


def observations(exchanges: Sequence[Exchange], views: Sequence[Exchanged], prices: Prices | None) -> Table:
    """One row an exchange. Of one that failed, what the answer would have said is missing."""
    failed = np.array([exchange.error is not None or exchange.finish_reason == "error" for exchange in exchanges], dtype=bool)
    captured = np.array([exchange.metadata.get("source") == SOURCE["source"] for exchange in exchanges], dtype=bool)
    columns: dict[str, Floats | Sequence[object]] = dict(measure(views))
    for name, values in columns.items():
        if not name.startswith("prompt_") and isinstance(values, np.ndarray):
            columns[name] = np.where(failed, math.nan, values)
    columns["prompt_tokens"] = np.where(captured, math.nan, columns["prompt_tokens"])  # type: ignore[arg-type]
    columns["latency_ms"] = np.where(captured | failed, math.nan, [exchange.latency_ms for exchange in exchanges])
    columns["first_token_ms"] = np.array([math.nan if item.first_token_ms is None else item.first_token_ms for item in exchanges])
    columns["error"] = failed.astype(np.float64)
    if prices is not None:
        columns[COST] = np.array([cost(view, *prices) for view in views])
    columns["finish_reason"] = [exchange.finish_reason for exchange in exchanges]
    columns["language"] = languages([view.prompt.content for view in views])
    return columns


def blocks(exchanges: Iterable[Exchange]) -> Iterable[list[Exchange]]:
    """The exchanges in lists of at most BLOCK."""
    block: list[Exchange] = []
    for exchange in exchanges:
        block.append(exchange)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block
