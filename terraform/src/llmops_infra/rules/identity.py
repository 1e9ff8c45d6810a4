"""Rules on who may do what."""

import re

from llmops_infra.rules.rule import Block, condition_keys, everybody, rule, statements, texts

GITHUB = "token.actions.githubusercontent.com"
# calls that take no resource, and looking at what there is but never into it
# (docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html)
WITHOUT_RESOURCE = re.compile(r"(textract|comprehend):|ecr:GetAuthorizationToken$|cloudwatch:PutMetricData$|bedrock:Rerank$")
LOOKING = re.compile(r"[\w-]+:(Describe|List|Get|View|BatchGet)")
LOOKING_INTO = re.compile(r"(s3:(GetObject|List)|secretsmanager:|ssm:GetParameter|ecr:(BatchGet|GetDownload)|logs:Get|sagemaker:GetRecord)")
# what a call has to be narrowed by
NARROWED_BY = {
    "s3:ListBucket": "s3:prefix",
    "cloudwatch:PutMetricData": "cloudwatch:namespace",
    "kms:CreateGrant": "kms:grantisforawsresource",
}
EVERY_ONE_OF_A_KIND = re.compile(r":(collection|index|mlflow-app|endpoint|endpoint-config)/\*$")


@rule("LLMOPS_18", "A role's actions are written out, and a role is passed to named services only", "aws_iam_role_policy", "aws_iam_policy")
def actions_are_written_out(policy: Block) -> str | None:
    found = statements(policy)
    if not found:
        return "the policy has no statements to read"
    for statement in found:
        if statement.get("Effect") != "Allow":
            continue
        actions, sid = texts(statement.get("Action")), statement.get("Sid")
        if statement.get("NotAction") or any(action == "*" or action.endswith(":*") for action in actions):
            return f"{sid}: not all actions are written out"
        if "iam:PassRole" in actions:
            if "*" in texts(statement.get("Resource")):
                return f"{sid}: passes any role"
            if "iam:passedtoservice" not in condition_keys(statement):
                return f"{sid}: passes a role to any service"
    return None


@rule("LLMOPS_21", "What a role may do names resources, but for calls that take none", "aws_iam_role_policy", "aws_iam_policy")
def resources_are_named(policy: Block) -> str | None:
    for statement in statements(policy):
        if statement.get("Effect") != "Allow" or "*" not in texts(statement.get("Resource")):
            continue
        for action in texts(statement.get("Action")):
            if not WITHOUT_RESOURCE.match(action) and (not LOOKING.match(action) or LOOKING_INTO.match(action)):
                return f"{statement.get('Sid')}: {action} on every resource"
    return None


@rule("LLMOPS_22", "What reaches over many resources is narrowed by a condition", "aws_iam_role_policy", "aws_iam_policy")
def breadth_is_narrowed(policy: Block) -> str | None:
    for statement in statements(policy):
        if statement.get("Effect") != "Allow":
            continue
        keys = set(condition_keys(statement))
        for action in texts(statement.get("Action")):
            if NARROWED_BY.get(action, "") not in {"", *keys}:
                return f"{statement.get('Sid')}: {action} without a condition on {NARROWED_BY[action]}"
        changing = not all(LOOKING.match(action) for action in texts(statement.get("Action")))
        every = [resource for resource in texts(statement.get("Resource")) if changing and EVERY_ONE_OF_A_KIND.search(resource)]
        if every and not any(key.startswith(("aws:resourcetag/", "aws:requesttag/")) for key in keys):
            return f"{statement.get('Sid')}: all of {every[0]} without a condition on a tag"
    return None


@rule("LLMOPS_19", "A role is taken by named services of this account, or by workflows of one repository", "aws_iam_role")
def trust_is_bounded(role: Block) -> str | None:
    found = statements(role, "assume_role_policy")
    if not found:
        return "nobody can tell who may take the role"
    for statement in found:
        principal, keys = statement.get("Principal") or {}, set(condition_keys(statement))
        if everybody(principal):
            return f"{statement.get('Sid')}: anybody may take it"
        if not all(action.startswith("sts:AssumeRole") for action in texts(statement.get("Action"))):
            return f"{statement.get('Sid')}: trusts somebody with more than taking the role"
        if "Federated" in principal and not _one_repository(statement):
            return f"{statement.get('Sid')}: workflows of other repositories may take it"
        if "Service" in principal and not keys & {"aws:sourceaccount", "aws:sourcearn"}:
            return f"{statement.get('Sid')}: other accounts may use it through the service (the confused deputy)"
    return None


def _one_repository(statement: Block) -> bool:
    """Whether `sub` is bound to a repository and an environment or event, and `aud` to STS."""
    values: dict[str, list[str]] = {}
    for test in (statement.get("Condition") or {}).values():
        for key, value in test.items():
            values.setdefault(key.lower(), []).extend(texts(value))
    subjects = values.get(f"{GITHUB}:sub", [])
    bound = all(subject.startswith("repo:") and subject.count(":") >= 2 and "*" not in subject for subject in subjects)
    return bool(subjects) and bound and values.get(f"{GITHUB}:aud") == ["sts.amazonaws.com"]


@rule("LLMOPS_20", "A resource's own policy lets nobody in by a star", "aws_s3_bucket_policy", "aws_sns_topic_policy", "aws_kms_key")
def nobody_by_a_star(resource: Block) -> str | None:
    for statement in statements(resource):
        if statement.get("Effect") != "Allow":
            continue
        principal, sid = statement.get("Principal") or {}, statement.get("Sid")
        # a service's role that does not exist yet cannot be a principal, only be described
        described = {"kms:calleraccount", "aws:principalarn"} <= set(condition_keys(statement))
        if everybody(principal) and not described:
            return f"{sid}: the principal is anybody"
        if any(action == "*" or action.endswith(":*") for action in texts(statement.get("Action"))):
            return f"{sid}: not all actions are written out"
        # a key's policy speaks of itself as *, a bucket's or topic's names what it is about
        if "*" in texts(statement.get("Resource")) and "enable_key_rotation" not in resource:
            return f"{sid}: the resource is not named"
        if "Service" in principal and not any(key.startswith(("aws:source", "kms:encryptioncontext")) for key in condition_keys(statement)):
            return f"{sid}: the service may act for other accounts"
    return None
