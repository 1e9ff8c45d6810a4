"""Who may take a role and what it may do."""

import json
from typing import Any

import pytest

from support.stacks import ACCOUNT, PARTITION, Resources, role_statements, statements

# actions that AWS binds to no resource, or where the calls name none
UNBOUND = {"EnterRegistry", "LookAround", "PublishMetrics", "ReadDocuments", "ReadLanguage", "ReadMetrics", "Rerank", "FindGroup", "Look", "SeeScaling", "SeeAlarms", "SeeEncryption"}  # fmt: skip
GITHUB = "token.actions.githubusercontent.com"


def role(purpose: str) -> str:
    return f"arn:{PARTITION}:iam::{ACCOUNT}:role/llmops-full-{purpose}"


def of(platform: Resources, name: str) -> list[dict[str, Any]]:
    return [statement for policy, statement in role_statements(platform) if policy == f"{name}-policy"]


def test_no_statement_allows_every_action_of_a_service(platform: Resources) -> None:
    for policy, statement in role_statements(platform):
        assert not [action for action in statement["Action"] if action.endswith(":*") or action == "*"], policy


def test_only_what_has_no_resource_is_allowed_on_all(platform: Resources) -> None:
    for policy, statement in role_statements(platform):
        assert statement["Resource"] != ["*"] or statement["Sid"] in UNBOUND, (policy, statement["Sid"])


def test_metrics_are_published_in_named_namespaces_only(platform: Resources) -> None:
    published = [statement for _, statement in role_statements(platform) if "cloudwatch:PutMetricData" in statement["Action"]]

    assert published
    assert all(statement["Condition"]["StringEquals"]["cloudwatch:namespace"] for statement in published)


def test_roles_are_passed_by_name_to_named_services(platform: Resources) -> None:
    passing = {policy: statement for policy, statement in role_statements(platform) if "iam:PassRole" in statement["Action"]}

    assert {policy: statement["Resource"] for policy, statement in passing.items()} == {
        "identity_pipeline-policy": [role(purpose) for purpose in ("preprocess", "train", "serve", "monitor")],
        "identity_schedule-policy": [role("monitor")],
        "identity_monitor-policy": [role("labeling")],
        "github_deploy-policy": ["${aws_iam_role.identity_serve.arn}"],
    }
    assert all(
        statement["Condition"] == {"StringEquals": {"iam:PassedToService": ["sagemaker.amazonaws.com"]}} for statement in passing.values()
    )


@pytest.mark.parametrize(
    "purpose, service",
    [
        *((service, "sagemaker") for service in ("preprocess", "train", "serve", "monitor", "pipeline", "labeling", "tracking")),
        ("glue", "glue"),
        ("schedule", "scheduler"),
        ("events", "events"),
    ],
)
def test_a_service_takes_its_role_in_this_account_only(platform: Resources, purpose: str, service: str) -> None:
    (trust,) = statements(platform["aws_iam_role"][f"identity_{purpose}"]["assume_role_policy"])

    assert trust["Principal"] == {"Service": [f"{service}.amazonaws.com"]}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


@pytest.mark.parametrize(
    "name, subject", [("github_deploy", "repo:example/llmops:environment:full"), ("github_plan", "repo:example/llmops:pull_request")]
)
def test_github_is_bound_to_repository_and_environment(platform: Resources, name: str, subject: str) -> None:
    (trust,) = statements(platform["aws_iam_role"][name]["assume_role_policy"])

    assert trust["Action"] == ["sts:AssumeRoleWithWebIdentity"]
    assert trust["Condition"] == {"StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": subject}}


def test_the_role_of_pull_requests_only_looks(platform: Resources) -> None:
    verbs = {action.partition(":")[2].rstrip("*") for statement in of(platform, "github_plan") for action in statement["Action"]}

    assert all(verb.startswith(("Describe", "Get", "List", "BatchGet", "View")) for verb in verbs), verbs
    read = [statement["Resource"] for statement in of(platform, "github_plan") if "s3:GetObject" in statement["Action"]]
    assert read == [[f"arn:{PARTITION}:s3:::llmops-state-{ACCOUNT}-eu-west-1/llmops/full/*"]]


def test_the_role_of_deployments_writes_reports_and_documents_and_no_weights(platform: Resources) -> None:
    written = {
        place.partition("}/")[2]
        for statement in of(platform, "github_deploy")
        if "s3:PutObject" in statement["Action"]
        for place in statement["Resource"]
    }

    assert written == {"", "reports/*", "endpoints/*"}  # the state's folder is no reference
    assert {"ecr:DescribeImageScanFindings", "events:PutEvents"} <= {
        action for statement in of(platform, "github_deploy") for action in statement["Action"]
    }
    assert len(json.dumps(of(platform, "github_deploy"))) < 10_240  # IAM's limit of a role's own policy


def test_services_reach_their_own_data_only(platform: Resources) -> None:
    def written(service: str) -> set[str]:
        return {
            place.split(".")[1].removeprefix("storage_").removesuffix("_bucket")
            for statement in of(platform, f"identity_{service}")
            if "s3:PutObject" in statement["Action"]
            for place in statement["Resource"]
        }

    assert written("preprocess") == {"datasets"}
    assert written("train") == {"checkpoints", "models"}
    assert written("serve") == {"captures"}
    assert written("monitor") == {"captures"}
    assert written("glue") == {"datasets"}
    assert written("labeling") == {"raw", "captures"}


def test_keys_are_used_by_name(platform: Resources) -> None:
    for policy, statement in role_statements(platform):
        if "kms:Decrypt" in statement["Action"]:
            assert all(arn.startswith("${aws_kms_key.keys_") for arn in statement["Resource"]), policy


def test_a_key_is_administered_by_this_account_and_used_by_services_for_it(platform: Resources) -> None:
    for key in platform["aws_kms_key"].values():
        administer, *services = statements(key["policy"])
        assert administer["Principal"] == {"AWS": f"arn:{PARTITION}:iam::{ACCOUNT}:root"}
        assert "kms:*" not in administer["Action"]
        assert all(statement["Condition"] for statement in services)
        everybody = [statement["Condition"] for statement in services if statement["Principal"] == {"AWS": "*"}]
        assert all(condition["StringEquals"]["kms:CallerAccount"] == ACCOUNT and condition["ArnLike"] for condition in everybody)
        assert key["enable_key_rotation"]


def test_policies_stay_below_the_limit_of_an_inline_policy(platform: Resources) -> None:
    # 10,240 characters without white space (docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)
    for name, policy in platform["aws_iam_role_policy"].items():
        text = json.dumps(json.loads(policy["policy"]), separators=(",", ":"))
        # an expression becomes an ARN of about 75 characters
        assert len(text) < 10_240, (name, len(text))
