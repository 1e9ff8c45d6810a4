"""`llmops-serve status`: what runs, compared with what the Endpoint document asks for."""

from typing import Any

from llmops_serve.document_config import StatusConfig
from llmops_shared.contracts import Endpoint, Reference, Report
from llmops_shared.documents import document_uri, read_document
from llmops_shared.resume import digest_of


def status(config: StatusConfig) -> Report:
    """A Report with the differences as its reasons; its verdict is `pass` when there are none."""
    place = document_uri(config.endpoint, Endpoint)
    endpoint, digest = read_document(place, Endpoint), digest_of(place, Endpoint)
    if config.url is not None:
        from llmops_serve.running import server_differences

        differences = server_differences(config.url, endpoint, digest, config.timeout_s)
        where = config.url
    else:
        from llmops_serve.sagemaker import endpoint_differences

        differences = endpoint_differences(endpoint, place, config.endpoint_uri)
        where = f"SageMaker endpoint {endpoint.name}"
    agreed = f"{where} runs generation {endpoint.generation} of {endpoint.name}: {', '.join(described(endpoint))}."
    return Report(
        report="status",
        name=f"{endpoint.name}-{endpoint.generation}",
        subjects={"endpoint": Reference(uri=place, sha256=digest)},
        measurements=[],
        verdict="fail" if differences else "pass",
        reasons=differences or [agreed],
        parts={},
        mlflow_run_id=None,
    )


def described(endpoint: Endpoint) -> list[str]:
    """Variants in a few words each."""
    return [f"{one.name} ({'shadow' if one.shadow else f'weight {one.weight:g}'}, {one.engine})" for one in endpoint.variants]


def rehearse(config: StatusConfig) -> dict[str, Any]:
    """What would be asked, without asking."""
    endpoint = read_document(config.endpoint, Endpoint)
    if config.url is not None:
        return {"requests": [f"GET {config.url}/info", f"GET {config.url}/health"]}
    calls = [f"DescribeEndpoint {endpoint.name}", "DescribeEndpointConfig of what it names"]
    return {"calls": [*calls, *(f"DescribeModel of variant {variant.name}" for variant in endpoint.variants)]}
