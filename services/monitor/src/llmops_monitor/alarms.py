"""Alarms on a series: where a metric leaves the range of its past."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llmops_shared.statistics import Floats


class AlarmRule(NamedTuple):
    """When a point is out of range. The defaults are for points five minutes apart, chosen on real CloudWatch metrics, see the README."""

    num_past: int = 2016
    """Points of the past that make the range: a week of five minutes."""
    num_first: int = 288
    """Points without alarm at the beginning, when there is no past."""
    num_smoothed: int = 12
    """Points whose median is judged: one strange point is no alarm."""
    tail: float = 0.03
    """Share of the past left out of the range at each end."""
    reach: float = 2.5
    """How far beyond the range, in widths of the range, a point has to be."""
    growth: float = 1.1
    """And so many times as far as any point before: a metric that often leaves its range has to leave it farther."""
    most: float = 5.0
    """So far beyond the range is an alarm whatever came before."""
    least: float = 0.05
    """The range is taken to be at least this share of the median wide."""
    num_quiet: int = 288
    """Points after the last strange one during which it counts as the same alarm."""


FIVE_MINUTES = AlarmRule()


def alarms(values: Sequence[float] | Floats, rule: AlarmRule = FIVE_MINUTES) -> list[int]:
    """Places at which an alarm goes off. Missing values (NaN) raise none and are no past; a constant series raises none."""
    series = smoothed(np.asarray(values, dtype=np.float64), rule.num_smoothed)
    found, last = [], -rule.num_quiet - 1
    farthest = np.zeros(len(series))  # of all points up to each
    for place in range(rule.num_first, len(series)):
        farthest[place] = farthest[place - 1]
        past = series[max(0, place - rule.num_past) : place - rule.num_smoothed + 1]
        past = past[np.isfinite(past)]
        if not np.isfinite(series[place]) or len(past) < rule.num_first // 2:
            continue
        beyond = distance(float(series[place]), past, rule)
        farthest[place] = max(farthest[place], beyond)
        if beyond > min(max(rule.growth * farthest[place - rule.num_smoothed], rule.reach), rule.most):
            if place - last > rule.num_quiet:
                found.append(place)
            last = place
    return found


def smoothed(series: Floats, num_points: int) -> Floats:
    """The median of each point and those before it; NaN where none of them is there."""
    if num_points == 1 or not len(series):
        return series
    padded = np.concatenate([np.full(num_points - 1, np.nan), series])
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, num_points), axis=1)  # NaN last
    counts = np.isfinite(windows).sum(axis=1)
    rows = np.arange(len(windows))
    middle = (windows[rows, np.maximum(counts - 1, 0) // 2] + windows[rows, np.minimum(counts // 2, num_points - 1)]) / 2
    result: Floats = np.where(counts > 0, middle, np.nan)
    return result


def distance(value: float, past: Floats, rule: AlarmRule) -> float:
    """How far a value is beyond the range of the past, in widths of the range; negative within it."""
    low, middle, high = np.quantile(past, [rule.tail, 0.5, 1 - rule.tail])
    width = max(high - low, rule.least * abs(middle))
    if width == 0:  # always zero so far: any other value is infinitely far, and one that is zero again is not
        return 0.0 if value == middle else np.inf
    return float(max(value - high, low - value) / width)
