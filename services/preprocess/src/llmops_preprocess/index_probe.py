"""Measures a fresh index: does it find documents by their own first sentence, and does the vector store find true neighbours?"""

import logging
import random
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.chunking.chunk import Chunk, split_title
from llmops_preprocess.index_embed import Embedded
from llmops_shared.retrieval.search import FoundChunk, Searcher
from llmops_shared.rows import TextRow

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

DEPTH = 10
NUM_COMPARED = 100  # questions whose neighbours are compared with the exact ones


def probe(searcher: Searcher, rows: Sequence[TextRow], embedded: Embedded, num_probes: int, seed: int) -> dict[str, float]:
    """Figures over a sample of documents, each asked for by the first sentence of its text; none without a probe.

    Such a question shares its words with the document, so these are upper bounds of what people's questions find; they are for
    comparing indexes. `vector_recall_at_10` is the share of the ten nearest chunks, by exact cosine, that the store returned.
    """
    chosen = random.Random(seed).sample(list(rows), min(num_probes, len(rows)))
    asked = [(row, sentence) for row in chosen if (sentence := first_sentence(row))]
    if not asked:
        return {}
    results = [searcher.search(sentence, DEPTH) for _, sentence in asked]
    ranks = np.array([rank_of(row.id, result.chunks) for (row, _), result in zip(asked, results, strict=True)])
    figures = {
        "probe_recall_at_1": float(np.mean(ranks <= 1)),
        "probe_recall_at_5": float(np.mean(ranks <= 5)),
        "probe_mean_reciprocal_rank": float(np.mean(1 / ranks)),
        "question_embedding_ms_p50": float(np.median([result.embedding_ms for result in results])),
        "question_search_ms_p50": float(np.median([result.search_ms for result in results])),
    }
    if embedded.embedder is not None and embedded.vectors is not None:
        compared = [sentence for _, sentence in asked[:NUM_COMPARED]]
        questions = embedded.embedder.embed_questions(compared)
        near = [searcher.search(sentence, DEPTH, search="vector").chunks for sentence in compared]
        figures["vector_recall_at_10"] = vector_recall(questions @ embedded.vectors.T, near)
    return figures


def first_sentence(row: TextRow) -> str:
    """The first sentence below the title, on one line; empty where there is no word."""
    _, body = split_title(row)
    sentence = re.split(r"(?<=[.!?])\s|\n\s*\n", body.strip(), maxsplit=1)[0]
    return " ".join(sentence.split()) if re.search(r"[^\W\d_]{2}", sentence) else ""


def rank_of(document_id: str, chunks: Sequence[FoundChunk]) -> float:
    """Place of the document among those found, from 1; infinite when it is not there."""
    found = list(dict.fromkeys(chunk.document_id for chunk in chunks))
    return found.index(document_id) + 1 if document_id in found else float("inf")


def vector_recall(similarities: Floats, found: Sequence[Sequence[FoundChunk]]) -> float:
    """Mean share of the true nearest among those found, from [num_questions, num_chunks]; as near as the last of them is as good."""
    depth = min(DEPTH, similarities.shape[1])
    thresholds = np.partition(similarities, -depth, axis=1)[:, -depth] - 1e-5  # the store rounds otherwise than numpy
    hits = [sum(chunk.score >= limit for chunk in chunks) for chunks, limit in zip(found, thresholds, strict=True)]
    return float(np.mean(np.minimum(hits, depth)) / depth)


def chunk_figures(chunks: Sequence[Chunk]) -> dict[str, float]:
    """Lengths of the chunks in tokens."""
    median, high = np.percentile([chunk.num_tokens for chunk in chunks], [50, 95])
    return {"chunk_tokens_p50": float(median), "chunk_tokens_p95": float(high), "chunk_tokens_max": max(c.num_tokens for c in chunks)}
