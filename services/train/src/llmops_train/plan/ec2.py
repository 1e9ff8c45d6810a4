"""Which availability zones have an instance type, from EC2."""

from collections.abc import Sequence
from typing import Any

from llmops_shared.errors import LlmopsError


def zones_with(client: Any, instance_type: str) -> list[str]:
    """Zones of the region that offer the EC2 type under a SageMaker type. Raises LlmopsError when EC2 does not say."""
    from botocore.exceptions import BotoCoreError, ClientError

    filters = [{"Name": "instance-type", "Values": [instance_type.removeprefix("ml.")]}]
    try:
        pages = client.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone", Filters=filters)
        return sorted(offer["Location"] for page in pages for offer in page["InstanceTypeOfferings"])
    except (ClientError, BotoCoreError) as error:
        raise LlmopsError(f"EC2 does not answer ({error}); allow ec2:DescribeInstanceTypeOfferings, or plan.account=false") from error


def zones_of(client: Any, subnet_ids: Sequence[str]) -> list[str]:
    """Zones of a job's subnets."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return sorted({subnet["AvailabilityZone"] for subnet in client.describe_subnets(SubnetIds=list(subnet_ids))["Subnets"]})
    except (ClientError, BotoCoreError) as error:
        raise LlmopsError(f"EC2 does not know {', '.join(subnet_ids)} ({error}); correct the platform's subnets") from error
