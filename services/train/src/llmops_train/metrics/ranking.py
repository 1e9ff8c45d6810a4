"""Retrieval: recall@k, MRR and nDCG@k (Järvelin and Kekäläinen 2002), as TREC's `trec_eval` computes them."""

import math
from collections.abc import Mapping, Sequence

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.scores import Scores, make_scores

KINDS = ("recall_at_k", "mrr", "ndcg_at_k")


def ranking(
    kind: str, row_ids: Sequence[str], retrieved: Sequence[Sequence[str]], relevant: Sequence[Mapping[str, float]], k: int
) -> Scores:
    """One of the three in [0, 1]. `retrieved` holds document ids best first, `relevant` the gain of each relevant document.

    Raises LlmopsError that names the row for unequal lengths, no relevant document, a gain that is not above 0 and finite, or
    a document that was retrieved twice.
    """
    if len(retrieved) != len(relevant):
        raise LlmopsError(f"{len(retrieved)} rankings, but {len(relevant)} sets of relevant documents; give one of each a row")
    for row_id, found, gains in zip(row_ids, retrieved, relevant, strict=True):
        check(row_id, found, gains)
    values = [score(kind, found, gains, k) for found, gains in zip(retrieved, relevant, strict=True)]
    return make_scores(kind, row_ids, values, "trec_eval" if kind == "mrr" else f"trec_eval|k:{k}")


def check(row_id: str, found: Sequence[str], gains: Mapping[str, float]) -> None:
    """Raises LlmopsError for a row that cannot be scored."""
    if not gains:
        raise LlmopsError(f"row {row_id}: has no relevant document, so no ranking could be right; leave the row out")
    if not all(math.isfinite(gain) and gain > 0 for gain in gains.values()):
        raise LlmopsError(f"row {row_id}: a gain is not above 0; list only relevant documents, with finite gains")
    if len(set(found)) != len(found):
        raise LlmopsError(f"row {row_id}: a document was retrieved twice; merge its chunks first")


def score(kind: str, found: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """One row."""
    match kind:
        case "recall_at_k":
            return len(set(found[:k]) & set(gains)) / len(gains)
        case "mrr":
            return next((1 / rank for rank, document in enumerate(found, 1) if document in gains), 0.0)
    ideal = discounted(sorted(gains.values(), reverse=True)[:k])
    return discounted([gains.get(document, 0.0) for document in found[:k]]) / ideal


def discounted(gains: Sequence[float]) -> float:
    """Sum of gains, each divided by log2(1 + rank)."""
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
