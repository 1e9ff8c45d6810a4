"""Requests as botocore's model of the service accepts them; nothing is sent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from llmops_monitor.bedrock import ask_bedrock
from llmops_monitor.cloudwatch import metric_requests, past_requests, put_metrics, read_metrics
from llmops_shared.errors import LlmopsError
from support.service_rules import complaints

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

    def made(service: str) -> tuple[Any, Stubber]:
        client = boto3.client(service, region_name="us-east-1")
        stubber = Stubber(client)
        stubber.activate()
        return client, stubber

    yield made


def test_figures_are_put_under_their_own_names(stubbed: Any) -> None:
    client, stubber = stubbed("cloudwatch")
    dimensions = [{"Name": "EndpointName", "Value": "assistant"}]
    stubber.add_response("put_metric_data", {}, {
        "Namespace": "LLMOps",
        "MetricData": [
            {"MetricName": "refusal", "Dimensions": dimensions, "Timestamp": MOMENT, "Value": 0.25, "Unit": "None", "StorageResolution": 60},
            {"MetricName": "latency_ms", "Dimensions": dimensions, "Timestamp": MOMENT, "Value": 40.0, "Unit": "Milliseconds", "StorageResolution": 60},
        ],
    })  # fmt: skip

    assert put_metrics("assistant", MOMENT, {"refusal": 0.25, "latency_ms": 40.0, "cost_usd": float("nan")}, client) == 2
    stubber.assert_no_pending_responses()


def test_many_figures_take_several_requests(stubbed: Any) -> None:
    client, stubber = stubbed("cloudwatch")
    for _ in range(3):
        stubber.add_response("put_metric_data", {})

    assert put_metrics("assistant", MOMENT, {f"metric{number}": 1.0 for number in range(2001)}, client) == 2001
    stubber.assert_no_pending_responses()


def test_an_endpoint_is_read_by_metrics_insights(stubbed: Any) -> None:
    client, stubber = stubbed("cloudwatch")
    since = MOMENT - timedelta(hours=1)
    variants = "SCHEMA(\"AWS/SageMaker\", EndpointName, VariantName) WHERE EndpointName = 'assistant'"
    hardware = "SCHEMA(\"/aws/sagemaker/Endpoints\", EndpointName, VariantName) WHERE EndpointName = 'assistant'"
    expressions = {
        "invocations": f"SELECT SUM(Invocations) FROM {variants}",
        "server_errors": f"SELECT SUM(Invocation5XXErrors) FROM {variants}",
        "client_errors": f"SELECT SUM(Invocation4XXErrors) FROM {variants}",
        "model_errors": f"SELECT SUM(InvocationModelErrors) FROM {variants}",
        "concurrency": f"SELECT MAX(ConcurrentRequestsPerModel) FROM {variants}",
        "first_token_us": f"SELECT AVG(FirstChunkModelLatency) FROM {variants}",
        "gpu_percent": f"SELECT AVG(GPUUtilization) FROM {hardware}",
        "gpu_memory_percent": f"SELECT AVG(GPUMemoryUtilization) FROM {hardware}",
        "cpu_percent": f"SELECT AVG(CPUUtilization) FROM {hardware}",
        "memory_percent": f"SELECT AVG(MemoryUtilization) FROM {hardware}",
        "disk_percent": f"SELECT AVG(DiskUtilization) FROM {hardware}",
    }
    dimensions = [{"Name": "EndpointName", "Value": "assistant"}, {"Name": "VariantName", "Value": "production"}]
    percentiles = [
        {"Id": f"{name}_{stat}_us", "MetricStat": {
            "Metric": {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions}, "Period": 60, "Stat": stat}}
        for name, metric in (("latency", "ModelLatency"), ("overhead", "OverheadLatency")) for stat in ("p50", "p95", "p99")
    ]  # fmt: skip
    request = {
        "MetricDataQueries": [{"Id": name, "Expression": text, "Period": 60} for name, text in expressions.items()] + percentiles,
        "StartTime": since, "EndTime": MOMENT, "ScanBy": "TimestampAscending",
    }  # fmt: skip
    stubber.add_response("get_metric_data", {
        "MetricDataResults": [{"Id": "invocations", "Label": "x", "Timestamps": [since], "Values": [10.0], "StatusCode": "PartialData"}], "NextToken": "more",
    }, request)  # fmt: skip
    stubber.add_response("get_metric_data", {
        "MetricDataResults": [{"Id": "invocations", "Label": "x", "Timestamps": [since + timedelta(minutes=1)], "Values": [20.0]}],
    }, {**request, "NextToken": "more"})  # fmt: skip

    points = read_metrics(metric_requests("assistant", ["production"], since, MOMENT, 60), client)

    assert points == {"invocations": [(since, 10.0), (since + timedelta(minutes=1), 20.0)]}
    stubber.assert_no_pending_responses()
    with pytest.raises(LlmopsError, match="for three hours at most"):
        metric_requests("assistant", ["production"], since - timedelta(hours=3), MOMENT, 60)


def test_weeks_are_read_by_plain_metrics_of_each_variant() -> None:
    (request,) = past_requests("assistant", ["production", "next"], MOMENT, 28)

    assert complaints("cloudwatch", "GetMetricData", request) == []
    assert request["StartTime"] == MOMENT - timedelta(days=28) and request["EndTime"] == MOMENT
    queries = {query["Id"]: query["MetricStat"] for query in request["MetricDataQueries"]}
    assert len(queries) == 34 and {query["Period"] for query in queries.values()} == {300}
    variant = [{"Name": "EndpointName", "Value": "assistant"}, {"Name": "VariantName", "Value": "next"}]
    assert queries["gpu_percent_1"] == {
        "Metric": {"Namespace": "/aws/sagemaker/Endpoints", "MetricName": "GPUUtilization", "Dimensions": variant}, "Period": 300, "Stat": "Average",
    }  # fmt: skip
    assert queries["latency_p99_us"]["Stat"] == "p99" and queries["invocations"]["Stat"] == "Sum"


def test_a_refusal_is_named(stubbed: Any) -> None:
    client, stubber = stubbed("cloudwatch")
    stubber.add_client_error("put_metric_data", "AccessDenied", "no")

    with pytest.raises(LlmopsError, match=r"CloudWatch: .*AccessDenied.*check region, credentials"):
        put_metrics("assistant", MOMENT, {"refusal": 0.25}, client)


def test_a_judge_of_bedrock_is_asked_through_converse(stubbed: Any) -> None:
    client, stubber = stubbed("bedrock-runtime")
    request = {
        "modelId": "some.model-v1:0", "messages": [{"role": "user", "content": [{"text": "Rate this."}]}],
        "inferenceConfig": {"temperature": 0.0, "maxTokens": 300},
    }  # fmt: skip
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": '{"toxicity": 1}'}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1},
    }  # fmt: skip
    stubber.add_response("converse", answer, request)
    stubber.add_client_error("converse", "ValidationException", "no such model")
    ask = ask_bedrock("some.model-v1:0", client)

    assert ask("Rate this.") == '{"toxicity": 1}'
    with pytest.raises(LlmopsError, match=r"judge some.model-v1:0: Bedrock refuses"):
        ask("Rate this.")
