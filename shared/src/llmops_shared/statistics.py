"""Confidence intervals by the bootstrap (Efron 1979), seeded so that the same rows give the same interval."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure and its interval."""

    value: float
    low: float
    high: float
    num_rows: int


def bootstrap(
    rows: ArrayLike,
    statistic: Callable[[Floats], Floats],
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile interval of a statistic over resampled rows.

    `rows` has shape [num_rows] or [num_rows, num_columns]; columns of one row are resampled together, which makes paired
    comparisons. `statistic` maps [..., num_rows] or [..., num_rows, num_columns] to [...]. Raises ValueError without rows
    or with a value that is not finite.
    """
    table = np.asarray(rows, dtype=np.float64)
    if table.shape[0] == 0:
        raise ValueError("no rows to estimate from")
    if not np.isfinite(table).all():
        raise ValueError("rows hold a value that is not finite")
    random = np.random.default_rng(seed)
    num_rows = table.shape[0]
    block = max(1, min(num_resamples, 4_000_000 // table.size))  # at most 32 MB of resampled rows at a time
    draws = [
        statistic(table[random.integers(0, num_rows, (min(block, num_resamples - start), num_rows))])
        for start in range(0, num_resamples, block)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(draws), [tail, 1 - tail])
    return Estimate(float(statistic(table[None])[0]), float(low), float(high), num_rows)


def mean(rows: Floats) -> Floats:
    """Mean of each row set, for `bootstrap` over [num_rows]."""
    result: Floats = rows.mean(axis=-1)
    return result


def mean_difference(rows: Floats) -> Floats:
    """Second column minus first, for `bootstrap` over [num_rows, 2]."""
    result: Floats = rows[..., 1].mean(axis=-1) - rows[..., 0].mean(axis=-1)
    return result


def perplexity(rows: Floats) -> Floats:
    """exp(sum of the first column / sum of the second), for `bootstrap` over [num_rows, 2] of (negative log-likelihood in nats, tokens)."""
    result: Floats = np.exp(rows[..., 0].sum(axis=-1) / rows[..., 1].sum(axis=-1))
    return result
