"""Rules on who may do what."""

from llmops_infra.rules.rule import Block, condition_keys, everybody, rule, statements, texts

GITHUB = "token.actions.githubusercontent.com"


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


@rule("LLMOPS_19", "A role is taken by named services of this account, or by workflows of one repository", "aws_iam_role")
def trust_is_bounded(role: Block) -> str | None:
    found = statements(role, "assume_role_policy")
    if not found:
        return "nobody can tell who may take the role"
    for statement in found:
        principal, keys = statement.get("Principal") or {}, set(condition_keys(statement))
        if everybody(principal):
            return f"{statement.get('Sid')}: anybody may take it"
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
        if everybody(statement.get("Principal")):
            return f"{statement.get('Sid')}: the principal is anybody"
        services = "Service" in (statement.get("Principal") or {})
        if services and not any(key.startswith(("aws:source", "kms:encryptioncontext")) for key in condition_keys(statement)):
            return f"{statement.get('Sid')}: the service may act for other accounts"
    return None
