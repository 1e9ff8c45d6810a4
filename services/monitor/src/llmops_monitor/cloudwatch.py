"""CloudWatch: our figures put there, and the endpoint's own read from there."""

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError

NAMESPACE = "LLMOps"
"""Of every metric this project publishes; dashboards and alarms name the same."""
DIMENSION = "EndpointName"
MAX_DATA = 1000
"""Metrics in one PutMetricData request (API reference)."""
MAX_QUERIES = 500
"""Queries in one GetMetricData request (API reference)."""


class Query(NamedTuple):
    """One figure of an endpoint, as a Metrics Insights query."""

    id: str
    """Its name here; CloudWatch wants a lower-case first letter."""
    expression: str
    unit: str


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


def endpoint_queries(endpoint: str) -> list[Query]:
    """Latency, first token, load, errors and hardware of all variants of a SageMaker endpoint together.

    Metrics Insights has no percentiles, so those are metrics math's plain metrics, see `latency_queries`.
    """
    of = f"WHERE EndpointName = '{endpoint}'"
    variants = 'SCHEMA("AWS/SageMaker", EndpointName, VariantName)'
    hardware = 'SCHEMA("/aws/sagemaker/Endpoints", EndpointName, VariantName)'
    return [
        Query("invocations", f"SELECT SUM(Invocations) FROM {variants} {of}", "requests"),
        Query("server_errors", f"SELECT SUM(Invocation5XXErrors) FROM {variants} {of}", "requests"),
        Query("client_errors", f"SELECT SUM(Invocation4XXErrors) FROM {variants} {of}", "requests"),
        Query("model_errors", f"SELECT SUM(InvocationModelErrors) FROM {variants} {of}", "requests"),
        Query("concurrency", f"SELECT MAX(ConcurrentRequestsPerModel) FROM {variants} {of}", "requests"),
        Query("first_token_us", f"SELECT AVG(FirstChunkModelLatency) FROM {variants} {of}", "us"),
        Query("gpu_percent", f"SELECT AVG(GPUUtilization) FROM {hardware} {of}", "%"),
        Query("gpu_memory_percent", f"SELECT AVG(GPUMemoryUtilization) FROM {hardware} {of}", "%"),
        Query("cpu_percent", f"SELECT AVG(CPUUtilization) FROM {hardware} {of}", "%"),
        Query("memory_percent", f"SELECT AVG(MemoryUtilization) FROM {hardware} {of}", "%"),
        Query("disk_percent", f"SELECT AVG(DiskUtilization) FROM {hardware} {of}", "%"),
    ]


def latency_queries(endpoint: str, variant: str, period_s: int) -> list[dict[str, Any]]:
    """Percentiles of ModelLatency and OverheadLatency of one variant, in microseconds."""
    dimensions = [{"Name": DIMENSION, "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    return [
        {
            "Id": f"{name}_{statistic}_us",
            "MetricStat": {
                "Metric": {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions},
                "Period": period_s,
                "Stat": statistic,
            },
        }
        for name, metric in (("latency", "ModelLatency"), ("overhead", "OverheadLatency"))
        for statistic in ("p50", "p95", "p99")
    ]


def read_metrics(
    endpoint: str, variants: Sequence[str], since: datetime, until: datetime, period_s: int, client: Any = None
) -> dict[str, list[tuple[datetime, float]]]:
    """Name to the points in time of an endpoint's figures, earliest first; empty where CloudWatch has none."""
    client = client or cloudwatch()
    points: dict[str, list[tuple[datetime, float]]] = {}
    for request in metric_requests(endpoint, variants, since, until, period_s):
        while True:
            answer = call(client.get_metric_data, **request)
            for result in answer["MetricDataResults"]:
                points.setdefault(result["Id"], []).extend(zip(result["Timestamps"], result["Values"], strict=True))
            if not answer.get("NextToken"):
                break
            request["NextToken"] = answer["NextToken"]
    return points


def metric_requests(endpoint: str, variants: Sequence[str], since: datetime, until: datetime, period_s: int) -> list[dict[str, Any]]:
    """The requests of GetMetricData, each with as many queries as one may have.

    Metrics Insights looks back three hours at most (API reference), which a longer window is refused for.
    """
    if (until - since).total_seconds() > 3 * 3600:
        raise LlmopsError(
            f"since {since.isoformat()} until {until.isoformat()}: CloudWatch Metrics Insights answers for three hours at most"
        )
    queries = [{"Id": query.id, "Expression": query.expression, "Period": period_s} for query in endpoint_queries(endpoint)]
    for place, variant in enumerate(variants):
        percentiles = latency_queries(endpoint, variant, period_s)
        queries += percentiles if place == 0 else [{**query, "Id": f"{query['Id']}_{place}"} for query in percentiles]
    return [
        {"MetricDataQueries": queries[start : start + MAX_QUERIES], "StartTime": since, "EndTime": until, "ScanBy": "TimestampAscending"}
        for start in range(0, len(queries), MAX_QUERIES)
    ]


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
