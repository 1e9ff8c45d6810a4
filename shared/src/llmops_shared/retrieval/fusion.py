"""Joins lists that rank by different scores."""

from collections import defaultdict
from collections.abc import Sequence

SMOOTHING = 60  # the constant of Cormack, Clarke and Buettcher (2009): the first ranks count most, but not everything


def reciprocal_rank_fusion(rankings: Sequence[Sequence[str]], num: int) -> list[str]:
    """The best `num` ids by the sum of 1 / (60 + rank) over the lists, best first; equal ones in the order of their ids."""
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, name in enumerate(ranking, 1):
            scores[name] += 1 / (SMOOTHING + rank)
    return sorted(scores, key=lambda name: (-scores[name], name))[:num]
