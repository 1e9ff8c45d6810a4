"""Answer quality in CloudWatch: the metric that the endpoint's alarms, and with them its automatic rollback, listen to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmops_monitor.cloudwatch import call, cloudwatch
from llmops_shared.contracts.platform import ANSWER_QUALITY, METRICS_NAMESPACE


def quality_request(environment: str, endpoint: str, moment: datetime, served: float, variants: Mapping[str, float]) -> dict[str, Any]:
    """The parameters of PutMetricData: what clients got, which the alarm reads, and each variant by itself; all 0 to 1.

    `moment` is when it was judged: an alarm looks at its last period alone, and judged samples come in later than requests.
    """
    of_endpoint = {"Environment": environment, "Endpoint": endpoint}
    series = [(of_endpoint, served), *(({**of_endpoint, "Variant": name}, value) for name, value in variants.items())]
    return {
        "Namespace": METRICS_NAMESPACE,
        "MetricData": [
            {
                "MetricName": ANSWER_QUALITY,
                "Dimensions": [{"Name": name, "Value": text} for name, text in dimensions.items()],
                "Timestamp": moment,
                "Value": value,
                "Unit": "None",
            }
            for dimensions, value in series
        ],
    }


def put_quality(request: dict[str, Any], client: Any = None) -> None:
    """Sends it. Raises LlmopsError when CloudWatch refuses."""
    call((client or cloudwatch()).put_metric_data, **request)
