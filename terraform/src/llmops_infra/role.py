"""A role: who may take it and what it may do, in one inline policy."""

from collections.abc import Sequence

from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy
from constructs import Construct

from llmops_infra.policy import Statement, allow, by_service, document
from llmops_infra.stack import Account


def service_role(
    scope: Construct, name: str, *, role_name: str, account: Account, services: Sequence[str], statements: Sequence[Statement]
) -> IamRole:
    """A role for AWS services, and only for what they do in this account."""
    # without the condition another account's resource could make the service act here: the confused deputy
    own = {"StringEquals": {"aws:SourceAccount": account.id}}
    trust = allow("ServiceOnly", ["sts:AssumeRole"], conditions=own, principal=by_service(*services))
    return role_with(scope, name, role_name=role_name, trust=trust, statements=statements)


def role_with(scope: Construct, name: str, *, role_name: str, trust: Statement, statements: Sequence[Statement]) -> IamRole:
    """A role with its trust and its one policy."""
    role = IamRole(scope, name, name=role_name, assume_role_policy=document(trust))
    if statements:
        IamRolePolicy(scope, f"{name}-policy", name=role_name, role=role.id, policy=document(*statements))
    return role
