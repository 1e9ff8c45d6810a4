"""Alarms on a series: where the newest points are like nothing in its past."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from llmops_monitor.charts import clock
from llmops_shared.statistics import Floats


class AlarmRule(NamedTuple):
    """When points are unlike the past. Defaults: points five minutes apart, chosen on real CloudWatch metrics, see the README."""

    num_points: int = 18
    """Points judged together, an hour and a half: one strange point has to be very strange."""
    num_past: int = 8064
    """Points of the past among which their like is looked for: four weeks."""
    num_first: int = 288
    """Points without alarm at the beginning, when there is no past."""
    num_nearest: int = 10
    """Stretches of the past that are to be alike: something that happened less often is still strange."""
    num_remembered: int = 1152
    """Points during which a strange stretch raises the bar for the next: four days."""
    growth: float = 1.25
    """How many times as far from the past as any stretch remembered."""
    usual: float = 1.5
    """And as nine in ten stretches of the past: a series of noise has a farthest stretch, too."""
    least: float = 0.02
    """And this share of the past's median, whatever came before: a metric that hardly ever moves may do so."""
    num_errors: float = 1.5
    """And so many standard errors of its points, where those are known: one refusal more in an hour of forty answers is no event."""
    num_quiet: int = 288
    """Points after the last strange one during which it counts as the same alarm."""


FIVE_MINUTES = AlarmRule()
HOURS = AlarmRule(num_points=6, num_past=672, num_first=36, num_remembered=96, growth=1.5, usual=2.0, num_quiet=6)
"""A stretch of six points is swayed by noise more than one of eighteen is, so it has to be stranger."""


class Alarm(NamedTuple):
    """A stretch of points unlike the past."""

    place: int
    """Its last point."""
    distance: float
    """How far a point of it is on average (root mean square) from those of the stretches most like it."""
    usual: float
    """What nine in ten stretches of the past did not pass."""
    farthest: float
    """The farthest stretch remembered."""


def alarms(values: Sequence[float] | Floats, rule: AlarmRule = FIVE_MINUTES, errors: Sequence[float] | Floats | None = None) -> list[Alarm]:
    """Alarms, each at the first strange point. Missing values (NaN) are left out; a constant series raises none.

    `errors` are the standard errors of values that are means of samples.
    """
    series = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(series))
    series = series[known]
    doubt = np.zeros(len(series)) if errors is None else rule.num_errors * over_stretches(np.asarray(errors, np.float64)[known], rule)
    distances = strangeness(series, rule)
    found, last = [], -rule.num_quiet - 1
    for place in range(rule.num_first, len(series)):
        before = distances[max(0, place - rule.num_past) : place - rule.num_points + 1]
        before = before[np.isfinite(before)]
        if not len(before):
            continue
        farthest = float(before[-rule.num_remembered :].max())
        middle = float(np.median(series[max(0, place - rule.num_past) : place]))
        bound = max(rule.growth * farthest, rule.least * abs(middle), doubt[place])
        # most points end here: what is usual costs more to know
        if distances[place] <= bound or distances[place] <= rule.usual * (usual := float(np.quantile(before, 0.9))):
            continue
        if place - last > rule.num_quiet:
            found.append(Alarm(int(known[place]), float(distances[place]), usual, farthest))
        last = place
    return found


def over_stretches(errors: Floats, rule: AlarmRule) -> Floats:
    """The root mean square of the errors of each stretch, by its last point."""
    sums = np.convolve(np.square(errors), np.ones(rule.num_points))[: len(errors)]
    means: Floats = np.sqrt(sums / rule.num_points)
    return means


def strangeness(series: Floats, rule: AlarmRule = FIVE_MINUTES) -> Floats:
    """How far the stretch that ends at each point is from the stretches most like it in the past; NaN where there are too few.

    Distances are Euclidean, of the points as they are: a discord of the past alone (Keogh et al. 2005), by the nearest neighbours
    of Burnaev and Ishimtsev 2016 (KNN-CAD), which say how unusual a stretch is without a model of what is usual.
    """
    found = np.full(len(series), np.nan)
    if len(series) < rule.num_points:
        return found
    stretches = np.lib.stride_tricks.sliding_window_view(series, rule.num_points)
    for place in range(rule.num_points + rule.num_nearest - 1, len(stretches)):
        past = stretches[max(0, place - rule.num_past) : place - rule.num_points + 1]
        if len(past) < rule.num_nearest:
            continue
        squares = np.square(past - stretches[place]).sum(axis=1)
        nearest = np.partition(squares, rule.num_nearest - 1)[: rule.num_nearest]
        found[place + rule.num_points - 1] = np.sqrt(nearest / rule.num_points).mean()
    return found


def in_words(name: str, times: Sequence[datetime], found: Sequence[Alarm], rule: AlarmRule, points: str) -> str:
    """A metric's newest alarm, with what made it one, and when there were others; `points` is what a point is called."""
    *before, last = found
    earlier = f" Earlier: {', '.join(clock(times[alarm.place]) for alarm in before[-3:])}." if before else ""
    return (
        f"Alarm: {name} at {clock(times[last.place])}: its last {rule.num_points} {points} are {last.distance:.3g} "
        f"from the most similar ones before; usual is up to {last.usual:.3g}, and the most lately was {last.farthest:.3g}.{earlier}"
    )
