"""How many instances of a type an account may train on at a time, from Service Quotas."""

from collections.abc import Iterator
from typing import Any

from llmops_shared.errors import LlmopsError


def training_quota(client: Any, instance_type: str, spot: bool) -> float | None:
    """The account's limit, or AWS's default where it has none of its own; None when Service Quotas does not know the type."""
    name = f"{instance_type} for {'spot ' if spot else ''}training job usage"
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for quota in quotas(client, operation):
            if quota["QuotaName"] == name:
                return float(quota["Value"])
    return None


def quotas(client: Any, operation: str) -> Iterator[dict[str, Any]]:
    """SageMaker's quotas. Raises LlmopsError when they may not be read."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            yield from page["Quotas"]
    except (ClientError, BotoCoreError) as error:
        raise LlmopsError(
            f"Service Quotas does not answer ({error}); allow servicequotas:{operation_name(operation)}, or plan.account=false"
        ) from error


def operation_name(operation: str) -> str:
    """The IAM action of an operation."""
    return {"list_service_quotas": "ListServiceQuotas", "list_aws_default_service_quotas": "ListAWSDefaultServiceQuotas"}[operation]
