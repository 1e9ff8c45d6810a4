"""CloudWatch: our figures put there, and the endpoint's own read from there."""

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError

NAMESPACE = "LLMOps"
"""Of every metric this project publishes; dashboards and alarms name the same."""
DIMENSION = "EndpointName"
MAX_DATA = 1000
"""Metrics in one PutMetricData request (API reference)."""
MAX_QUERIES = 500
"""Queries in one GetMetricData request (API reference)."""


PAST_PERIOD_S = 300
"""Points of the past: CloudWatch keeps those of five minutes for 63 days."""


class Metric(NamedTuple):
    """One figure of an endpoint."""

    id: str
    """Its name here; CloudWatch wants a lower-case first letter."""
    namespace: str
    name: str
    statistic: Literal["Sum", "Maximum", "Average"]


VARIANTS, HARDWARE = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
METRICS = (
    Metric("invocations", VARIANTS, "Invocations", "Sum"),
    Metric("server_errors", VARIANTS, "Invocation5XXErrors", "Sum"),
    Metric("client_errors", VARIANTS, "Invocation4XXErrors", "Sum"),
    Metric("model_errors", VARIANTS, "InvocationModelErrors", "Sum"),
    Metric("concurrency", VARIANTS, "ConcurrentRequestsPerModel", "Maximum"),
    Metric("first_token_us", VARIANTS, "FirstChunkModelLatency", "Average"),
    Metric("gpu_percent", HARDWARE, "GPUUtilization", "Average"),
    Metric("gpu_memory_percent", HARDWARE, "GPUMemoryUtilization", "Average"),
    Metric("cpu_percent", HARDWARE, "CPUUtilization", "Average"),
    Metric("memory_percent", HARDWARE, "MemoryUtilization", "Average"),
    Metric("disk_percent", HARDWARE, "DiskUtilization", "Average"),
)
INSIGHTS = {"Sum": "SUM", "Maximum": "MAX", "Average": "AVG"}
"""Statistics in Metrics Insights' language."""


def put_metrics(endpoint: str, moment: datetime, values: Mapping[str, float], client: Any = None) -> int:
    """Publishes figures, named as in the report, under namespace and endpoint; returns how many. Raises LlmopsError when refused."""
    import math

    client = client or cloudwatch()
    data = [
        {
            "MetricName": name,
            "Dimensions": [{"Name": DIMENSION, "Value": endpoint}],
            "Timestamp": moment,
            "Value": value,
            "Unit": "Milliseconds" if name.endswith("_ms") else "None",
            "StorageResolution": 60,
        }
        for name, value in values.items()
        if math.isfinite(value)
    ]
    for start in range(0, len(data), MAX_DATA):
        call(client.put_metric_data, Namespace=NAMESPACE, MetricData=data[start : start + MAX_DATA])
    return len(data)


def insight(metric: Metric, endpoint: str, period_s: int) -> dict[str, Any]:
    """A figure of all variants together; Metrics Insights has no percentiles, which `latency_queries` are for."""
    schema = f'SCHEMA("{metric.namespace}", EndpointName, VariantName)'
    expression = f"SELECT {INSIGHTS[metric.statistic]}({metric.name}) FROM {schema} WHERE EndpointName = '{endpoint}'"
    return {"Id": metric.id, "Expression": expression, "Period": period_s}


def plain(name: str, metric: Metric, statistic: str, endpoint: str, variant: str, period_s: int) -> dict[str, Any]:
    """A figure of one variant."""
    dimensions = [{"Name": DIMENSION, "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    of = {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": of, "Period": period_s, "Stat": statistic}}


def latency_queries(endpoint: str, variant: str, period_s: int) -> list[dict[str, Any]]:
    """Percentiles of ModelLatency and OverheadLatency of one variant, in microseconds."""
    return [
        plain(f"{name}_{statistic}_us", Metric(name, VARIANTS, metric, "Average"), statistic, endpoint, variant, period_s)
        for name, metric in (("latency", "ModelLatency"), ("overhead", "OverheadLatency"))
        for statistic in ("p50", "p95", "p99")
    ]


def metric_requests(endpoint: str, variants: Sequence[str], since: datetime, until: datetime, period_s: int) -> list[dict[str, Any]]:
    """The requests for an endpoint's figures of up to three hours, which is as far as Metrics Insights looks back (API reference)."""
    if (until - since).total_seconds() > 3 * 3600:
        raise LlmopsError(
            f"since {since.isoformat()} until {until.isoformat()}: CloudWatch Metrics Insights answers for three hours at most"
        )
    queries = [insight(metric, endpoint, period_s) for metric in METRICS]
    return requests(queries + by_variant(variants, lambda variant: latency_queries(endpoint, variant, period_s)), since, until)


def past_requests(endpoint: str, variants: Sequence[str], until: datetime, days: int) -> list[dict[str, Any]]:
    """The requests for the points of days of each variant, by plain metrics, which look back farther."""

    def queries(variant: str) -> list[dict[str, Any]]:
        figures = [plain(metric.id, metric, metric.statistic, endpoint, variant, PAST_PERIOD_S) for metric in METRICS]
        return figures + latency_queries(endpoint, variant, PAST_PERIOD_S)

    return requests(by_variant(variants, queries), until - timedelta(days=days), until)


def by_variant(variants: Sequence[str], queries: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The queries of all variants, numbered from the second variant on."""
    return [
        query if place == 0 else {**query, "Id": f"{query['Id']}_{place}"}
        for place, variant in enumerate(variants)
        for query in queries(variant)
    ]


def requests(queries: Sequence[dict[str, Any]], since: datetime, until: datetime) -> list[dict[str, Any]]:
    """GetMetricData, with as many queries as one may have."""
    return [
        {"MetricDataQueries": queries[start : start + MAX_QUERIES], "StartTime": since, "EndTime": until, "ScanBy": "TimestampAscending"}
        for start in range(0, len(queries), MAX_QUERIES)
    ]


def read_metrics(asked: Sequence[Mapping[str, Any]], client: Any = None) -> dict[str, list[tuple[datetime, float]]]:
    """Name to the points in time of an endpoint's figures, earliest first; empty where CloudWatch has none."""
    client = client or cloudwatch()
    points: dict[str, list[tuple[datetime, float]]] = {}
    for one in asked:
        more: dict[str, str] = {}
        while True:
            answer = call(client.get_metric_data, **one, **more)
            for result in answer["MetricDataResults"]:
                points.setdefault(result["Id"], []).extend(zip(result["Timestamps"], result["Values"], strict=True))
            if not answer.get("NextToken"):
                break
            more = {"NextToken": answer["NextToken"]}
    return points


def call(method: Any, **arguments: Any) -> Any:
    """One request, with the vendor's error turned into ours."""
    with explained("CloudWatch", "check region, credentials and cloudwatch permissions"):
        return method(**arguments)


@functools.cache
def cloudwatch() -> Any:
    """One client a process; credentials and region come from the environment."""
    import boto3
    from botocore.config import Config

    return boto3.client("cloudwatch", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))
