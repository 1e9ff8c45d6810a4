"""Real CloudWatch metrics with labelled anomalies (Numenta's benchmark), for the test and the benchmark of alarms."""

import csv
import gzip
import json
from bisect import bisect_left, bisect_right
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmops_monitor.alarms import AlarmRule, alarms


class LabelledMetric(NamedTuple):
    """A metric with windows in which something happened, as places in it."""

    values: np.ndarray
    windows: list[tuple[int, int]]

    def hourly(self) -> "LabelledMetric":
        """Means of twelve points."""
        num_hours = len(self.values) // 12
        return LabelledMetric(
            self.values[: num_hours * 12].reshape(-1, 12).mean(axis=1), [(low // 12, high // 12) for low, high in self.windows]
        )


def labelled_metrics(folder: Path) -> dict[str, tuple[LabelledMetric, float]]:
    """Each CloudWatch metric with its labelled windows and its days."""
    found = {}
    for name, listed in sorted(json.loads((folder / "anomaly_windows.json").read_text()).items()):
        with gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        moments = [row["timestamp"] for row in rows]
        windows = [(bisect_left(moments, low[:19]), bisect_right(moments, high[:19]) - 1) for low, high in listed]
        days = (datetime.fromisoformat(moments[-1]) - datetime.fromisoformat(moments[0])).total_seconds() / 86400
        found[name.removesuffix(".csv")] = (LabelledMetric(np.array([float(row["value"]) for row in rows]), windows), days)
    return found


def found_and_false(metric: LabelledMetric, rule: AlarmRule) -> tuple[int, int, list[int]]:
    """LabelledMetric windows in which an alarm goes off, alarms outside of any, and all of them."""
    places = [alarm.place for alarm in alarms(metric.values, rule)]
    found = sum(any(low <= place <= high for place in places) for low, high in metric.windows)
    return found, sum(not any(low <= place <= high for low, high in metric.windows) for place in places), places
