"""`llmops-monitor history`: every metric over the windows that `collect` made, as a page, in MLflow, and with alarms."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from llmops_monitor.charts import clock, line_chart
from llmops_monitor.collect import LEDGER, Ledger
from llmops_monitor.profile_job import ReferenceProfile, read_profile
from llmops_monitor.traffic_config import HistoryConfig
from llmops_shared.contracts.report import Measurement, Report, Verdict
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import join, store_for

if TYPE_CHECKING:
    from llmops_monitor.alarms import Alarm
    from llmops_monitor.judgement import Judgement
    from llmops_monitor.profile import Profile

logger = logging.getLogger(__name__)

Series = Mapping[str, Sequence[float]]
"""Metric to its value in each window, NaN where a window has none."""
Marked = Mapping[str, Sequence["Alarm"]]
"""Metric to its alarms, at least one."""


def run(config: HistoryConfig) -> Report:
    """Reads the windows' profiles, tests each against the reference, marks alarms, draws, and logs each window as a step."""
    place = join(config.windows, LEDGER)
    ledger = read_document(place, Ledger)
    if not ledger.windows:
        raise LlmopsError(f"{place}: holds no window yet; run llmops-monitor collect first")
    inputs = {"windows": hashlib.sha256(ledger.to_json()).hexdigest()}
    if config.profile is not None:
        inputs["profile"] = digest_of(config.profile, ReferenceProfile)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.profile import from_bytes
    from llmops_monitor.publish import Findings, publish

    starts = [datetime.fromisoformat(start) for start in ledger.windows]
    profiles = [from_bytes(store_for(uri).read(uri), uri) for name in ledger.windows.values() for uri in [join(config.windows, name)]]
    series, errors = series_of(profiles)
    marked = alarms_of(series, errors)
    judgements = judge_windows(profiles, config)
    verdict, reasons = conclude(starts, judgements, marked, ledger)
    measurements = [latest(name, values, profiles) for name, values in series.items() if math.isfinite(values[-1])]
    measurements += [
        latest(f"alarm/{name}", series[name], profiles) for name, found in marked.items() if found[-1].place == len(starts) - 1
    ]
    if verdict == "drift":
        newest = next(judgement for judgement in reversed(judgements) if judgement is not None and judgement.verdict != "not_enough_data")
        measurements += newest.measurements
    span = f"{len(starts)} windows from {clock(starts[0])} to {clock(starts[-1])} UTC, {ledger.num_records} exchanges."
    summary = f"{span} {legend(judgements, marked)}"
    page = render(
        f"History: {config.name}",
        summary,
        [],
        verdict,
        reasons,
        [window_table(starts, profiles, judgements)],
        charts(starts, series, marked, judgements),
    )
    if config.cloudwatch:
        from llmops_monitor.cloudwatch import put_metrics

        put_metrics(config.endpoint_name, starts[-1], {name: values[-1] for name, values in series.items()})
    findings = Findings("history", config.name, {}, measurements, verdict, reasons, {"html": ("history.html", page.encode())})
    return publish(config, findings, steps=steps_of(starts, series))


def series_of(profiles: Sequence["Profile"]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Means of the columns of numbers and the number of exchanges; and their standard errors."""
    from llmops_monitor.profile import NumberColumn

    means: dict[str, list[float]] = {"exchanges": [float(profile.num_rows) for profile in profiles]}
    errors = {"exchanges": [math.sqrt(profile.num_rows) for profile in profiles]}  # of a count (Poisson)
    for name in {name: None for profile in profiles for name in profile.columns}:
        columns = [profile.columns.get(name) for profile in profiles]
        known = [
            (column, profile.num_rows - column.num_missing) if isinstance(column, NumberColumn) else (None, 0)
            for column, profile in zip(columns, profiles, strict=True)
        ]
        if any(num_rows for _, num_rows in known):
            means[name] = [column.mean if column is not None and num_rows else math.nan for column, num_rows in known]
            errors[name] = [
                math.sqrt(column.squares / (num_rows - 1) / num_rows) if column is not None and num_rows > 1 else math.inf
                for column, num_rows in known
            ]
    return means, errors


def alarms_of(series: Series, errors: Series) -> dict[str, list["Alarm"]]:
    """Where a metric was unlike its past; a day and a half of hours has to be known first."""
    from llmops_monitor.alarms import HOURS, alarms

    return {name: found for name, values in series.items() if (found := alarms(values, HOURS, errors[name]))}


def judge_windows(profiles: Sequence["Profile"], config: HistoryConfig) -> list["Judgement | None"]:
    """Each window against the reference profile; None where there is none."""
    if config.profile is None:
        return [None] * len(profiles)
    from llmops_monitor.gate import Limits, judge_profiles
    from llmops_monitor.profile import from_bytes

    _, content = read_profile(config.profile)
    reference = from_bytes(content, config.profile)
    # every window is one more chance of a false alarm: the error is shared among them
    limits = Limits(alpha=Limits().alpha / len(profiles), min_rows=config.min_rows)
    return [judge_profiles(reference, profile, limits) for profile in profiles]


def conclude(
    starts: Sequence[datetime], judgements: Sequence["Judgement | None"], marked: Marked, ledger: Ledger
) -> tuple[Verdict | None, list[str]]:
    """The verdict on the newest window that has enough data, the drifted windows, the alarms, and what was left out.

    An alarm in the newest window is the verdict where that window did not drift: one of them is no less than the other to act on.
    """
    from llmops_monitor.alarms import HOURS, in_words

    tested = [(start, judgement) for start, judgement in zip(starts, judgements, strict=True) if judgement is not None]
    judged = [(start, judgement) for start, judgement in tested if judgement.verdict != "not_enough_data"]
    verdict: Verdict | None = (judged[-1][1].verdict if judged else "not_enough_data") if tested else None
    reasons = []
    drifted = [(start, judgement) for start, judgement in judged if judgement.verdict == "drift"]
    if tested:
        reasons.append(f"{len(drifted)} of {len(judged)} windows with enough data drifted from the reference profile.")
    for start, judgement in drifted[-5:]:
        reasons.append(f"{clock(start)}: {judgement.reasons[0]}")
    if verdict != "drift" and any(found[-1].place == len(starts) - 1 for found in marked.values()):
        verdict = "alarm"
    reasons += [in_words(name, starts, found, HOURS, "windows") for name, found in sorted(marked.items())]
    if ledger.num_late:
        reasons.append(f"{ledger.num_late} records came after their window was closed; they are counted in a later one.")
    if ledger.num_ahead:
        reasons.append(f"{ledger.num_ahead} records have a time in the future and were left out.")
    if ledger.num_broken:
        reasons.append(f"{ledger.num_broken} broken lines were left out.")
    return verdict, reasons


def latest(name: str, values: Sequence[float], profiles: Sequence["Profile"]) -> Measurement:
    """A metric in the newest window."""
    return Measurement(name=name, value=values[-1], low=None, high=None, confidence=None, num_rows=profiles[-1].num_rows, better="neither")


def steps_of(starts: Sequence[datetime], series: Series) -> list[tuple[datetime, dict[str, float]]]:
    """Each window's figures, for MLflow's charts over time."""
    return [
        (start, {name: values[place] for name, values in series.items() if math.isfinite(values[place])})
        for place, start in enumerate(starts)
    ]


def window_table(starts: Sequence[datetime], profiles: Sequence["Profile"], judgements: Sequence["Judgement | None"]) -> Table:
    """One row a window, the newest first."""
    rows = []
    for start, profile, judgement in reversed(list(zip(starts, profiles, judgements, strict=True))):
        rows.append([clock(start), str(profile.num_rows), "" if judgement is None else judgement.verdict.replace("_", " ")])
    return Table("Windows", ("Start", "Exchanges", "Against the reference"), rows)


def charts(starts: Sequence[datetime], series: Series, marked: Marked, judgements: Sequence["Judgement | None"]) -> list[str]:
    """A chart a metric, those with alarms first and those that never moved last."""
    drifted = drifted_places(judgements)
    names = sorted(series, key=lambda name: (name not in marked, len({value for value in series[name] if math.isfinite(value)}) == 1, name))
    return [line_chart(name, starts, series[name], [alarm.place for alarm in marked.get(name, ())], drifted) for name in names]


def drifted_places(judgements: Sequence["Judgement | None"]) -> list[int]:
    """Windows that drifted from the reference."""
    return [place for place, judgement in enumerate(judgements) if judgement is not None and judgement.verdict == "drift"]


def legend(judgements: Sequence["Judgement | None"], marked: Marked) -> str:
    """What the signs in the charts say, those that are there."""
    told = (["A red dot is an alarm."] if marked else []) + (["Shaded windows drifted."] if drifted_places(judgements) else [])
    return " ".join(told)
