"""The dashboard of an endpoint: speed, load, errors, hardware, quality."""

from llmops_infra.config import Environment
from llmops_infra.dashboard import Widget, found, graph
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.platform import ANSWER_QUALITY, METRICS_NAMESPACE


def widgets(environment: Environment, endpoint: Endpoint) -> list[Widget]:
    """Its graphs; a line per variant where SageMaker measures variants, the shadow among them."""
    region = environment.region

    def variants(namespace: str, *metrics: str) -> list[list[str]]:
        names = [variant.name for variant in endpoint.variants]
        return [[namespace, metric, "EndpointName", endpoint.name, "VariantName", name] for metric in metrics for name in names]

    quality = [METRICS_NAMESPACE, ANSWER_QUALITY, "Environment", environment.name, "Endpoint", endpoint.name]
    ours = f'{{{METRICS_NAMESPACE},EndpointName}} EndpointName="{endpoint.name}"'
    requests, hardware = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
    return [
        graph("Model latency, µs, 95th percentile", variants(requests, "ModelLatency"), region, "p95", 60),
        graph("Overhead, µs, 95th percentile", variants(requests, "OverheadLatency"), region, "p95", 60),
        graph("Time to first token when streamed, µs, p95", variants(requests, "FirstChunkModelLatency"), region, "p95", 60),
        graph("Requests a minute", variants(requests, "Invocations"), region, "Sum", 60),
        graph("Requests in flight", variants(requests, "ConcurrentRequestsPerModel"), region, "Maximum", 60),
        graph("Errors", variants(requests, "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors"), region, "Sum", 60),
        graph("GPU use and memory, %", variants(hardware, "GPUUtilization", "GPUMemoryUtilization"), region, "Average", 60),
        graph("Memory and disk, %", variants(hardware, "MemoryUtilization", "DiskUtilization"), region, "Maximum", 60),
        graph("Answer quality, 0 to 1", [quality], region, "Average", 300),
        found("Traffic and its drift, as our monitor sees it", ours, region),
    ]
