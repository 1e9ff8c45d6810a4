"""SageMaker shadow tests (inference experiments): which variants they compare, and where the answers were captured."""

from typing import Any, NamedTuple

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError


class ShadowTest(NamedTuple):
    """One inference experiment."""

    name: str
    status: str
    endpoint: str
    production: str
    """Variant whose answers went to clients."""
    shadow: str
    """Variant that got a copy of the traffic."""
    capture_uri: str
    """`s3://` prefix of what both answered."""


def read_experiment(name: str, client: Any = None) -> ShadowTest:
    """Asks SageMaker. Raises LlmopsError when there is no such test, or it kept no answers to compare."""
    if client is None:
        import boto3

        client = boto3.client("sagemaker")
    with explained(f"experiment={name}: SageMaker does not describe it", "correct the name, the region or the rights"):
        found = client.describe_inference_experiment(Name=name)
    storage, mode = found.get("DataStorageConfig"), found.get("ShadowModeConfig")
    if not storage:
        raise LlmopsError(f"experiment={name}: stores no answers (DataStorageConfig), so there is nothing to compare; make one that does")
    if not mode:
        raise LlmopsError(f"experiment={name}: is no shadow test (Type {found['Type']})")
    return ShadowTest(
        name=name,
        status=found["Status"],
        endpoint=found["EndpointMetadata"]["EndpointName"],
        production=mode["SourceModelVariantName"],
        shadow=mode["ShadowModelVariants"][0]["ShadowModelVariantName"],  # SageMaker takes one
        capture_uri=storage["Destination"].rstrip("/"),
    )
