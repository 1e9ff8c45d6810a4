"""Alarms on an endpoint's own metrics: points five minutes apart, of which the newest are held against weeks."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from llmops_monitor.alarms import FIVE_MINUTES, Alarm, alarms, in_words
from llmops_monitor.charts import line_chart
from llmops_shared.contracts.report import Measurement, Verdict

logger = logging.getLogger(__name__)

SHOWN = FIVE_MINUTES.num_remembered
"""Points of a chart."""


class Held(NamedTuple):
    """What the past says about the newest points."""

    verdict: Verdict | None
    """`alarm`, `not_enough_data` where no metric has a past, or None."""
    measurements: list[Measurement]
    """`alarm/METRIC`: the value at which it went off."""
    reasons: list[str]
    charts: list[str]


def hold(points: Mapping[str, Sequence[tuple[datetime, float]]], since: datetime) -> Held:
    """Alarms that began at `since` or later; those before are told, but are no verdict: they were one when they were new."""
    measurements, reasons, charts, short = [], [], [], []
    for number, (name, series) in enumerate(points.items(), 1):
        if len(series) <= FIVE_MINUTES.num_first:
            short.append(f"{name} ({len(series)})")
            continue
        label, times, values = in_ms(name, series)
        logger.info("alarms: %s, %d points (metric %d of %d)", label, len(values), number, len(points))
        found = alarms(values)
        if found:
            reasons.append(in_words(label, times, found, FIVE_MINUTES, "points"))
            charts.append(newest(label, times, values, found))
        if found and times[found[-1].place] >= since:
            measurements.append(
                Measurement(
                    name=f"alarm/{label}", value=values[found[-1].place], low=None, high=None, confidence=None, num_rows=len(values),
                    better="neither",
                )
            )  # fmt: skip
    if short:
        reasons.append(f"Alarms need more than {FIVE_MINUTES.num_first} points, a day; there are too few of {', '.join(short)}.")
    enough = len(short) < len(points)
    return Held("alarm" if measurements else None if enough else "not_enough_data", measurements, reasons, charts)


def in_ms(name: str, series: Sequence[tuple[datetime, float]]) -> tuple[str, list[datetime], list[float]]:
    """Name, times and values, microseconds as milliseconds."""
    scale = 1000 if "_us" in name else 1
    return name.replace("_us", "_ms"), [moment for moment, _ in series], [value / scale for _, value in series]


def newest(label: str, times: Sequence[datetime], values: Sequence[float], found: Sequence[Alarm]) -> str:
    """The last days of a metric with its alarms."""
    start = max(0, len(values) - SHOWN)
    return line_chart(f"{label}, alarms", times[start:], values[start:], [alarm.place - start for alarm in found if alarm.place >= start])
