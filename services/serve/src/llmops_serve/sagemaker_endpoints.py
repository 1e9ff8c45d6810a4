"""SageMaker's endpoints: which are there, on what, asked how often."""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_shared.aws_errors import explained

PERIOD_S = 300


@dataclass(frozen=True)
class Idle:
    """An endpoint in service and its traffic."""

    name: str
    instances: Mapping[str, int]
    """Instances by type, of all variants."""
    num_requests: int
    """Invocations in the time looked at."""


def endpoints(region: str, prefix: str, hours: float) -> Iterator[Idle]:
    """The endpoints in service. One that was changed within the time is left out: it may only have begun.

    Raises LlmopsError when AWS refuses.
    """
    import boto3

    client, metrics = boto3.client("sagemaker", region_name=region), boto3.client("cloudwatch", region_name=region)
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    wanted: dict[str, Any] = {"NameContains": prefix} if prefix else {}
    with explained(region, "check the credentials and what they may do"):
        for page in client.get_paginator("list_endpoints").paginate(StatusEquals="InService", **wanted):
            for one in page["Endpoints"]:
                if one["EndpointName"].startswith(prefix) and one["LastModifiedTime"] <= since:
                    yield look(client, metrics, one["EndpointName"], hours)


def look(client: Any, metrics: Any, name: str, hours: float) -> Idle:
    """An endpoint's instances and its requests."""
    description = client.describe_endpoint(EndpointName=name)
    variants = description.get("ProductionVariants", [])
    configured = client.describe_endpoint_config(EndpointConfigName=description["EndpointConfigName"])
    shadows = configured.get("ShadowProductionVariants", [])
    types = {one["VariantName"]: one.get("InstanceType") for one in [*configured["ProductionVariants"], *shadows]}
    instances: Counter[str] = Counter()
    for one in [*variants, *description.get("ShadowProductionVariants", [])]:
        if kind := types.get(one["VariantName"]):  # a serverless variant has no instances and costs nothing while idle
            instances[kind] += one.get("CurrentInstanceCount", 0)
    found = metrics.get_metric_data(**traffic_request(name, [one["VariantName"] for one in variants], hours))
    return Idle(name, dict(instances), int(sum(sum(one["Values"]) for one in found["MetricDataResults"])))


def traffic_request(endpoint: str, variants: list[str], hours: float) -> dict[str, Any]:
    """The request of GetMetricData for the invocations of each variant."""
    end = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return {
        "StartTime": (end - datetime.timedelta(hours=hours)).isoformat(),
        "EndTime": end.isoformat(),
        "MetricDataQueries": [
            {
                "Id": f"invocations{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": "Invocations",
                        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
                    },
                    "Period": PERIOD_S,
                    "Stat": "Sum",
                },
            }
            for number, variant in enumerate(variants)
        ],
    }


def stop(region: str, name: str) -> None:
    """Deletes an endpoint; its configuration and models stay, and cost nothing. One that is gone already is fine."""
    import boto3
    from botocore.exceptions import ClientError

    with explained(region, "check the credentials and what they may do"):
        try:
            boto3.client("sagemaker", region_name=region).delete_endpoint(EndpointName=name)
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
