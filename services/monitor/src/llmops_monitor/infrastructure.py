"""`llmops-monitor infrastructure`: latency, load, errors and hardware of an endpoint."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from llmops_monitor.cloudwatch import METRICS
from llmops_monitor.infrastructure_config import InfrastructureConfig
from llmops_monitor.prometheus import Samples, quantile, read_samples, since, total
from llmops_monitor.publish import Findings, publish
from llmops_shared.contracts.report import Measurement, Report, Verdict
from llmops_shared.page import render

if TYPE_CHECKING:
    from llmops_monitor.endpoint_alarms import Held

logger = logging.getLogger(__name__)

Points = Mapping[str, Sequence[tuple[datetime, float]]]
STATISTICS = {metric.id: metric.statistic for metric in METRICS}


def run(config: InfrastructureConfig) -> Report:
    """Reads the source that is named, and reports its figures; a figure the source has not is left out, and said so."""
    charts: list[str] = []
    verdict: Verdict | None = None
    if config.url is not None:
        measurements, reasons = from_server(config.url, config.seconds)
        source = f"{config.url}, {f'{config.seconds:g} seconds' if config.seconds else 'since its start'}"
    else:
        points = cloudwatch_points(config)
        measurements, reasons = from_points(points, config)
        charts = charts_of(points)
        source = f"{config.endpoint_name} in CloudWatch"
        if config.past_days:
            held = against_the_past(config)
            verdict, charts = held.verdict, [*held.charts, *charts]
            measurements += held.measurements
            reasons += held.reasons
    page = render(f"Infrastructure: {config.name}", source, measurements, verdict, reasons, (), charts)
    files = {"html": ("report.html", page.encode())}
    return publish(config, Findings("infrastructure", config.name, {}, measurements, verdict, reasons, files))


def rehearse(config: InfrastructureConfig) -> dict[str, Any] | None:
    """What `--dry-run` tells: the requests to CloudWatch; None for a server, whose `/metrics` is read."""
    if config.endpoint_name is None:
        return None
    from llmops_monitor.cloudwatch import metric_requests, past_requests

    assert config.since is not None and config.until is not None  # the settings say so
    asked = metric_requests(config.endpoint_name, config.variants, config.since, config.until, config.period_s)
    if config.past_days:
        asked += past_requests(config.endpoint_name, config.variants, config.until, config.past_days)
    return {
        "GetMetricData": [
            {**request, "StartTime": request["StartTime"].isoformat(), "EndTime": request["EndTime"].isoformat()} for request in asked
        ]
    }


def from_server(url: str, seconds: float) -> tuple[list[Measurement], list[str]]:
    """Figures of a server's `/metrics`, since its start or between two readings."""
    samples: Samples = read_samples(url)
    if seconds:
        time.sleep(seconds)
        samples = since(samples, read_samples(url))
    return server_figures(samples, seconds)


def server_figures(samples: Samples, seconds: float) -> tuple[list[Measurement], list[str]]:
    """Percentiles of latency and of the first token in milliseconds, requests, errors, tokens, and every gauge of hardware."""
    num_answered = total(samples, "tgi_request_duration_count")
    num_requests, num_failed = total(samples, "tgi_request_count"), total(samples, "tgi_request_failure")
    found: dict[str, tuple[float | None, str, Literal["higher", "lower", "neither"]]] = {}
    for label, histogram, scale, unit in (
        ("latency_ms", "tgi_request_duration", 1000, "ms"),
        ("first_token_ms", "tgi_request_first_token_duration", 1000, "ms"),
        ("token_ms", "tgi_request_mean_time_per_token_duration", 1000, "ms"),
        ("queue_ms", "tgi_request_queue_duration", 1000, "ms"),
        ("prompt_tokens", "tgi_request_input_length", 1, "tokens"),
        ("response_tokens", "tgi_request_generated_tokens", 1, "tokens"),
    ):
        for share in (0.5, 0.95, 0.99):
            value = quantile(samples, histogram, share)
            better: Literal["lower", "neither"] = "lower" if unit == "ms" else "neither"
            found[f"{label}/p{share * 100:.0f}"] = (None if value is None else scale * value, unit, better)
    found["requests"] = (num_requests, "requests", "neither")
    found["error_rate"] = (num_failed / num_requests if num_requests else None, "", "lower")
    if seconds:
        tokens = total(samples, "tgi_request_generated_tokens_sum")
        found["requests_per_s"] = (num_requests / seconds, "requests/s", "higher")
        found["tokens_per_s"] = (tokens / seconds, "tokens/s", "higher")
    rows = {"requests": num_requests, "error_rate": num_requests, "requests_per_s": num_requests}
    for (name, labels), value in samples.items():
        gauge = any(word in name for word in ("queue_size", "batch_current_size", "cpu", "memory", "gpu", "disk", "running", "waiting"))
        if gauge and not name.endswith(("_bucket", "_sum", "_count")):
            suffix = "".join(f"/{value}" for _, value in labels)
            found[f"{name}{suffix}"] = (value, "", "neither")
            rows[f"{name}{suffix}"] = 1  # a gauge is one reading
    lacking = list(dict.fromkeys(name.partition("/")[0] for name, (value, _, _) in found.items() if value is None))
    reasons = [f"The server has no observation of {', '.join(lacking)}."] if lacking else []
    return [
        figure(name, value, unit, better, int(rows.get(name, num_answered)))
        for name, (value, unit, better) in found.items()
        if value is not None
    ], reasons


def cloudwatch_points(config: InfrastructureConfig) -> Points:
    """The endpoint's points in time."""
    from llmops_monitor.cloudwatch import metric_requests, read_metrics

    assert config.endpoint_name is not None and config.since is not None and config.until is not None  # the settings say so
    return read_metrics(metric_requests(config.endpoint_name, config.variants, config.since, config.until, config.period_s))


def against_the_past(config: InfrastructureConfig) -> "Held":
    """The newest points held against those of days."""
    from llmops_monitor.cloudwatch import past_requests, read_metrics
    from llmops_monitor.endpoint_alarms import hold

    assert config.endpoint_name is not None and config.since is not None and config.until is not None  # the settings say so
    return hold(read_metrics(past_requests(config.endpoint_name, config.variants, config.until, config.past_days)), config.since)


def from_points(points: Points, config: InfrastructureConfig) -> tuple[list[Measurement], list[str]]:
    """One figure a metric: counts summed, concurrency at its highest, all else averaged; microseconds become milliseconds."""
    measurements, lacking = [], []
    for name, series in points.items():
        values = [value for _, value in series if math.isfinite(value)]
        if not values:
            lacking.append(name)
            continue
        statistic = STATISTICS.get(name, "Average")  # percentiles are averaged
        value = sum(values) if statistic == "Sum" else max(values) if statistic == "Maximum" else sum(values) / len(values)
        in_us = "_us" in name
        label, unit = (name.replace("_us", "_ms"), "ms") if in_us else (name, "%" if name.endswith("percent") else "requests")
        measurements.append(
            figure(label, value / 1000 if in_us else value, unit, "lower" if in_us or "error" in name else "neither", len(values))
        )
    figures = {item.name: item.value for item in measurements}
    if figures.get("invocations"):
        errors = sum(figures.get(name, 0.0) for name in ("server_errors", "model_errors"))
        measurements.append(figure("error_rate", errors / figures["invocations"], "", "lower", int(figures["invocations"])))
        assert config.since is not None and config.until is not None
        seconds = (config.until - config.since).total_seconds()
        measurements.append(figure("requests_per_s", figures["invocations"] / seconds, "requests/s", "higher", int(figures["invocations"])))
    reasons = [f"CloudWatch has no points of {', '.join(lacking)}."] if lacking else []
    return measurements, reasons


def charts_of(points: Points) -> list[str]:
    """A chart a metric."""
    from llmops_monitor.charts import line_chart

    return [line_chart(name, [moment for moment, _ in series], [value for _, value in series]) for name, series in points.items() if series]


def figure(name: str, value: float, unit: str, better: Literal["higher", "lower", "neither"], num_rows: int) -> Measurement:
    """A figure without an interval."""
    return Measurement(name=name, value=value, low=None, high=None, confidence=None, num_rows=num_rows, better=better, unit=unit)
