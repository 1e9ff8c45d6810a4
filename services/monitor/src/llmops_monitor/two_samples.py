"""Whether two samples of a number come from one distribution: tests, effect sizes and the correction for many of them."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from llmops_shared.statistics import Floats


class Shift(NamedTuple):
    """How far apart two samples are."""

    distance: float
    """Kolmogorov-Smirnov distance, 0 to 1: the largest difference of the shares below one value."""
    p_value: float
    """Before correction."""


RANK_WEIGHT = 0.8
"""Share of the error that Mann-Whitney may spend: most drift is a shift, which it sees better; the rest is for what only KS sees."""


def compare_samples(reference: Floats, current: Floats) -> Shift:
    """Kolmogorov-Smirnov and Mann-Whitney, the smaller p after a weighted correction (Bonferroni).

    The first sees any difference, the second sees a shifted middle better: of shifts by 0.3 standard deviations at 500 rows
    the first alone finds 93 % at p < 0.01, both together 97 %. Ties make the first cautious and are corrected in the second.
    """
    low, high = np.sort(reference), np.sort(current)
    distance, wins = ranks(low, high)
    by_rank = rank_p_value(wins, low, high)
    by_distance = ks_p_value(distance, len(low), len(high))
    return Shift(distance, min(1.0, by_rank / RANK_WEIGHT, by_distance / (1 - RANK_WEIGHT)))


def ranks(low: Floats, high: Floats) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two sorted samples, and Mann-Whitney's count of pairs in which the second is larger."""
    left, right = np.searchsorted(low, high, side="left"), np.searchsorted(low, high, side="right")
    changes = np.flatnonzero(high[1:] != high[:-1]) + 1
    starts, ends = np.concatenate([[0], changes]), np.concatenate([changes, [len(high)]])
    # where the second distribution jumps, the difference is largest just before or at the jump: the first only grows in between
    before = np.abs(left[starts] / len(low) - starts / len(high))
    after = np.abs(right[starts] / len(low) - ends / len(high))
    return float(max(before.max(), after.max())), float((left.sum() + right.sum()) / 2)


def ks_distance(reference: Floats, current: Floats) -> float:
    """Largest difference between the two empirical distributions."""
    return ranks(np.sort(reference), np.sort(current))[0]


def ks_p_value(distance: float, num_reference: int, num_current: int) -> float:
    """Kolmogorov's limit with Stephens' correction (1970) for the sizes; good from about 10 rows each."""
    from scipy.special import kolmogorov

    root = math.sqrt(num_reference * num_current / (num_reference + num_current))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def mann_whitney_p_value(reference: Floats, current: Floats) -> float:
    """Two-sided normal approximation with the correction for ties and for continuity; 1 for constant samples."""
    low, high = np.sort(reference), np.sort(current)
    return rank_p_value(ranks(low, high)[1], low, high)


def rank_p_value(wins: float, low: Floats, high: Floats) -> float:
    """Mann-Whitney's p from its count of pairs, of sorted samples."""
    values = np.sort(np.concatenate([low, high]), kind="stable")  # two sorted runs: merged in one pass
    edges = np.flatnonzero(values[1:] != values[:-1])
    num_reference, num_current, total = len(low), len(high), len(values)
    tied = 0.0
    if len(edges) < total - 1:
        ties = np.diff(np.concatenate([[-1], edges, [total - 1]])).astype(float)
        tied = float((ties**3 - ties).sum())
    spread = num_reference * num_current / 12 * (total + 1 - tied / (total * (total - 1)))
    if spread <= 0:
        return 1.0
    standard = max(0.0, abs(wins - num_reference * num_current / 2) - 0.5) / math.sqrt(spread)
    return math.erfc(standard / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values (Holm 1979): the chance of any false alarm among all tests, however they depend on each other."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


def distance_of(shift: float) -> float:
    """Kolmogorov-Smirnov distance of two normal distributions `shift` standard deviations apart."""
    return 2 * NormalDist().cdf(shift / 2) - 1


def auc_of(shift: float) -> float:
    """Area under the curve of two normal distributions `shift` standard deviations apart."""
    return NormalDist().cdf(shift / math.sqrt(2))


def standard_shift(reference: Floats, current: Floats, confidence: float) -> tuple[float, float, float] | None:
    """Difference of the means in standard deviations of the reference, with Welch's interval; None where the reference is constant."""
    spread = float(reference.std(ddof=1)) if len(reference) > 1 else 0.0
    if spread == 0:
        return None
    error = math.sqrt(reference.var(ddof=1) / len(reference) + (current.var(ddof=1) / len(current) if len(current) > 1 else 0.0))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    difference = float(current.mean() - reference.mean())
    return difference / spread, (difference - reach) / spread, (difference + reach) / spread
