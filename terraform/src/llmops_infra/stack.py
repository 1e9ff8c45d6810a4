"""What both stacks have: the provider with its tags, the state's place, readable addresses, and the account they run in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsii
from cdktn import LocalBackend, S3Backend, TerraformStack
from cdktn_provider_aws.data_aws_caller_identity import DataAwsCallerIdentity
from cdktn_provider_aws.data_aws_partition import DataAwsPartition
from cdktn_provider_aws.provider import AwsProvider, AwsProviderDefaultTags
from constructs import Construct

from llmops_infra.config import ENVIRONMENTS, Environment


@dataclass(frozen=True)
class Account:
    """Where a stack is applied; account and partition are known to Terraform only."""

    id: str
    partition: str
    region: str

    def arn(self, service: str, resource: str, *, region: str | None = None, account: str | None = None) -> str:
        """An ARN in this account and region; pass an empty `region` or `account` where the service has none."""
        place = self.region if region is None else region
        owner = self.id if account is None else account
        return f"arn:{self.partition}:{service}:{place}:{owner}:{resource}"


class Stack(TerraformStack):
    """A stack of an environment."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, out: Path) -> None:
        super().__init__(scope, name)
        self.environment = environment
        # one place for tags: the provider lays them on everything
        tags = {
            "Project": environment.project,
            "Environment": environment.name,
            "Stack": name,
            "ManagedBy": "terraform",
            **environment.tags,
        }
        AwsProvider(
            self,
            "aws",
            region=environment.region,
            allowed_account_ids=[environment.account_id] if environment.account_id else None,
            default_tags=[AwsProviderDefaultTags(tags=tags)],
        )
        caller, partition = DataAwsCallerIdentity(self, "caller"), DataAwsPartition(self, "partition")
        self.account = Account(caller.account_id, partition.partition, environment.region)
        keep_state(self, name, environment, out)

    @jsii.member(jsii_name="allocateLogicalId")
    def _allocate_logical_id(self, element: Any) -> str:
        # The usual hash says nothing in a plan. A path is unique as long as ids have no underscore, which the ids here never do.
        return "_".join(element.node.path.split("/")[1:])


def state_bucket(environment: Environment, account: Account) -> str:
    """The bucket of the s3 backend: as set, else as `make bootstrap` names it."""
    return environment.state.bucket or f"{environment.project}-state-{account.id}-{account.region}"


def state_key(environment: Environment, stack: str) -> str:
    """Where a stack's state is in the bucket."""
    return f"{environment.project}/{environment.name}/{stack}.tfstate"


def state_path(environment: Environment, stack: str, out: Path) -> str:
    """Where a stack's local state is, seen from the folder Terraform runs in: not in `build/`, which `make clean` empties."""
    place = ENVIRONMENTS.parent / "state" / environment.name / f"{stack}.tfstate"
    return os.path.relpath(place, out.resolve() / "stacks" / stack)


def keep_state(stack: TerraformStack, name: str, environment: Environment, out: Path) -> None:
    """The backend. Without a bucket's name the s3 one is completed at `terraform init`."""
    if environment.state.backend == "local":
        LocalBackend(stack, path=state_path(environment, name, out))
        return
    S3Backend(
        stack,
        bucket=environment.state.bucket or "",
        key=state_key(environment, name),
        region=environment.region,
        encrypt=True,
    )
    # the archived bindings are older than the lock file
    stack.add_override("terraform.backend.s3.use_lockfile", True)
