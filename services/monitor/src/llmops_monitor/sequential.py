"""Intervals and tests that hold at every look: the data may be looked at after each request, and the experiment stopped at any."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from llmops_shared.statistics import Estimate, Floats

MIN_UNITS = 30
"""Below, a variance estimated from the data is too uncertain for the normal limit; no interval is drawn."""
MISMATCH_CONCENTRATION = 100.0
"""Weight of the planned shares in the alternative of the ratio test, in requests: shares a few percent off are what breaks first."""


class Arm(NamedTuple):
    """Count, mean and variance of one metric in one arm."""

    num_units: int
    mean: float
    variance: float
    """Of one unit, with n - 1 below."""


def arm(values: Floats | Sequence[float]) -> Arm:
    """An arm's figures from its units' values; the variance of fewer than two is 0."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        return Arm(0, 0.0, 0.0)
    return Arm(numbers.size, float(numbers.mean()), float(numbers.var(ddof=1)) if numbers.size > 1 else 0.0)


def difference_sequence(control: Arm, treatment: Arm, confidence: float, planned_units: int) -> Estimate | None:
    """Confidence sequence of treatment's mean minus control's, valid at all looks together.

    The mixture sequential probability ratio test of Johari, Pekelis and Walsh (Always Valid Inference, Operations Research 2022)
    turned into an interval: with V the variance of the difference and a normal mixture of variance T,
    d +- sqrt(V (V + T) / T * log((V + T) / (V alpha^2))). With variances from the data it is an asymptotic confidence sequence
    (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 2024). T makes it narrowest at `planned_units` of both
    arms together. None where an arm has fewer than 30 units or nothing varies.
    """
    num_units = control.num_units + treatment.num_units
    if min(control.num_units, treatment.num_units) < MIN_UNITS:
        return None
    variance = control.variance / control.num_units + treatment.variance / treatment.num_units
    if variance <= 0:
        return None
    reach = math.sqrt(variance) * boundary(num_units / planned_units, 1 - confidence)
    difference = treatment.mean - control.mean
    return Estimate(difference, difference - reach, difference + reach, num_units)


def boundary(progress: float, alpha: float) -> float:
    """Standard errors on each side, at `progress` = units seen / units planned."""
    ratio = narrowest_ratio(alpha) * progress  # T / V: information grows with the units
    return math.sqrt((1 + ratio) / ratio * (math.log1p(ratio) - 2 * math.log(alpha)))


def narrowest_ratio(alpha: float) -> float:
    """T / V at which the interval is narrowest: the root above 0 of log(1 + r) - 2 log(alpha) = r, found by its own iteration.

    The closed form is -W(-alpha^2 / e) - 1 with Lambert's lower branch (Waudby-Smith et al., appendix on choosing rho).
    """
    ratio = 1.0
    for _ in range(60):  # a contraction with factor 1 / (1 + r), r above 4 for any alpha below 0.2
        ratio = math.log1p(ratio) - 2 * math.log(alpha)
    return ratio


def share_sequence(num_events: int, num_units: int, confidence: float) -> Estimate:
    """Confidence sequence of a share, exact at any number of units: Robbins' (1970) mixture with a Beta(1/2, 1/2) prior.

    Holds the shares p whose mixture likelihood ratio B(1/2 + k, 1/2 + n - k) / B(1/2, 1/2) / (p^k (1 - p)^(n - k)) is below
    1 / alpha (Ville 1939). Unlike a variance from the data it is of use where no event was seen.
    """
    misses = num_units - num_events
    mixture = log_beta(0.5 + num_events, 0.5 + misses) - log_beta(0.5, 0.5)
    limit = mixture + math.log(1 - confidence)
    value = num_events / num_units if num_units else 0.0

    def inside(share: float) -> bool:
        with np.errstate(divide="ignore"):
            likelihood = (num_events * np.log(share) if num_events else 0.0) + (misses * np.log1p(-share) if misses else 0.0)
        return bool(likelihood >= limit)

    low = 0.0 if inside(0.0) else edge(inside, value, 0.0)
    high = 1.0 if inside(1.0) else edge(inside, value, 1.0)
    return Estimate(value, low, high, num_units)


def edge(inside: Callable[[float], bool], within: float, outside: float) -> float:
    """Where `inside` turns false between two points, by halving."""
    for _ in range(60):
        middle = (within + outside) / 2
        within, outside = (middle, outside) if inside(middle) else (within, middle)
    return outside


def share_difference_sequence(control: Estimate, treatment: Estimate) -> Estimate:
    """Treatment's share minus control's from two sequences; it misses when one of them does, so their errors add up."""
    low, high = treatment.low - control.high, treatment.high - control.low
    return Estimate(treatment.value - control.value, low, high, control.num_rows + treatment.num_rows)


def mismatch_p_value(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Always-valid p-value of 'requests were split by these weights': 1 / the largest Bayes factor against it seen, here at the counts.

    Dirichlet-multinomial against multinomial (Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022).
    """
    shares = [weight / sum(weights) for weight in weights]
    total = sum(counts)
    log_factor = math.lgamma(MISMATCH_CONCENTRATION) - math.lgamma(MISMATCH_CONCENTRATION + total)
    for count, share in zip(counts, shares, strict=True):
        if share == 0:
            if count:
                return 0.0
            continue
        prior = MISMATCH_CONCENTRATION * share
        log_factor += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(-max(0.0, log_factor))


def log_beta(first: float, second: float) -> float:
    """log B(a, b)."""
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
