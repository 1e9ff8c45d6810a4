"""Checks of argument values that the provider makes itself and the schema cannot express.

A small part of what the real provider and AWS check: chosen because generated
configurations get these wrong most often.
"""

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmops_offline.schema import Block
from llmops_offline.values import Value, is_typed, is_unknown

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    summary: str
    detail: str
    path: Path


_JSON = {"assume_role_policy", "container_definitions", "dashboard_body", "event_pattern", "policy"}
_JSON_IN = {("aws_sfn_state_machine", "definition"), ("aws_ecr_lifecycle_policy", "policy")}
_CIDR = {"cidr_block", "cidr_ipv4", "cidr_ipv6", "destination_cidr_block", "ipv6_cidr_block"}
_ARN = re.compile(r"arn:[\w-]+:[\w-]+:[\w-]*:[\w-]*:.+", re.S)
_SAGEMAKER_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
_NAMES = {
    ("aws_cloudwatch_log_group", "name"): r"[\w./#-]{1,512}",
    ("aws_db_instance", "identifier"): r"[a-z](-?[a-z0-9]){0,62}",
    ("aws_ecr_repository", "name"): r"(?=.{2,256}$)[a-z0-9]+([._/-][a-z0-9]+)*",
    ("aws_iam_policy", "name"): r"[\w+=,.@-]{1,128}",
    ("aws_iam_role", "name"): r"[\w+=,.@-]{1,64}",
    ("aws_kms_alias", "name"): r"alias/[\w/-]{1,250}",
    ("aws_lambda_function", "function_name"): r"[\w:-]{1,140}",
    ("aws_opensearchserverless_access_policy", "name"): r"[a-z][a-z0-9-]{2,31}",
    ("aws_opensearchserverless_collection", "name"): r"[a-z][a-z0-9-]{2,31}",
    ("aws_opensearchserverless_security_policy", "name"): r"[a-z][a-z0-9-]{2,31}",
    ("aws_rds_cluster", "cluster_identifier"): r"[a-z](-?[a-z0-9]){0,62}",
    ("aws_s3_bucket", "bucket"): r"[a-z0-9]([a-z0-9.-]{1,61})[a-z0-9]",
    ("aws_sagemaker_endpoint", "name"): _SAGEMAKER_NAME,
    ("aws_sagemaker_endpoint_configuration", "name"): _SAGEMAKER_NAME,
    ("aws_sagemaker_flow_definition", "flow_definition_name"): r"[a-z0-9](-*[a-z0-9]){0,62}",
    ("aws_sagemaker_human_task_ui", "human_task_ui_name"): r"[a-z0-9](-*[a-z0-9]){0,62}",
    ("aws_sagemaker_mlflow_tracking_server", "tracking_server_name"): (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,255}"),
    ("aws_sagemaker_model", "name"): _SAGEMAKER_NAME,
    ("aws_sagemaker_workteam", "workteam_name"): _SAGEMAKER_NAME,
}
# Policies in IAM's language: whether statements name a principal, and a resource.
_POLICIES = {
    ("aws_iam_group_policy", "policy"): (False, True),
    ("aws_iam_policy", "policy"): (False, True),
    ("aws_iam_role", "assume_role_policy"): (True, False),
    ("aws_iam_role_policy", "policy"): (False, True),
    ("aws_iam_user_policy", "policy"): (False, True),
    ("aws_kms_key", "policy"): (True, True),
    ("aws_s3_bucket_policy", "policy"): (True, True),
    ("aws_sns_topic_policy", "policy"): (True, True),
    ("aws_sqs_queue_policy", "policy"): (True, True),
}


def check(block: Block, type_name: str, config: dict[str, Value]) -> list[Problem]:
    """All problems of one resource's or data source's arguments."""
    problems = []
    for path, attribute, value in _settings(block, config, ()):
        name = str(path[-1])
        if not attribute.get("required") and not attribute.get("optional"):
            problems.append(
                Problem("Value for unconfigurable attribute", f"Can't configure a value for {name!r}: it is decided by AWS.", path)
            )
        if not isinstance(value, str) or attribute["type"] != "string":
            continue
        problems += [Problem(summary, detail, path) for summary, detail in _shape_problems(name, value)]
        if len(path) == 1:
            problems += [Problem(summary, detail, path) for summary, detail in _argument_problems(type_name, name, value)]
    return problems


def _shape_problems(name: str, value: str) -> Iterator[tuple[str, str]]:
    if name in _CIDR:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            yield "Invalid CIDR block", f"{value!r}: {error}."
    elif name.endswith("_arn") and value and not _ARN.fullmatch(value):
        yield "Invalid ARN", f"{value!r} is not an ARN."


def _argument_problems(type_name: str, name: str, value: str) -> Iterator[tuple[str, str]]:
    rule = _NAMES.get((type_name, name))
    if rule and not re.fullmatch(rule, value):
        yield "Invalid name", f"{value!r} does not match {rule}."
    if name not in _JSON and (type_name, name) not in _JSON_IN:
        return
    try:
        document = json.loads(value)
    except ValueError as error:
        yield "Invalid JSON", f"{name} is not JSON: {error}."
        return
    if needs := _POLICIES.get((type_name, name)):
        for text in _policy_problems(document, *needs):
            yield "Invalid policy document", text


def _settings(block: Block, value: dict[str, Value], path: Path) -> Iterator[tuple[Path, Block, Value]]:
    """Every attribute that is set, with its path and its schema."""
    for name, attribute in block["attributes"].items():
        if value.get(name) is not None:
            yield (*path, name), attribute, value[name]
    for name, nested in block["blocks"].items():
        inner = value.get(name)
        if inner is None or is_unknown(inner) or is_typed(inner):
            continue
        if nested["nesting"] == "single":
            yield from _settings(nested["block"], inner, (*path, name))
            continue
        for index, item in enumerate(inner.values() if isinstance(inner, dict) else inner):
            if isinstance(item, dict):
                yield from _settings(nested["block"], item, (*path, name, index))


def _policy_problems(document: Any, principal: bool, resource: bool) -> list[str]:
    if not isinstance(document, dict):
        return ["The document is not an object."]
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not statements or not all(isinstance(item, dict) for item in statements):
        return ["The document has no statements."]
    problems = []
    if document.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        problems.append(f"Unknown policy version {document['Version']!r}.")
    for index, statement in enumerate(statements):
        label = f"Statement {statement.get('Sid') or index}"
        if statement.get("Effect") not in ("Allow", "Deny"):
            problems.append(f"{label}: Effect is {statement.get('Effect')!r}.")
        if ("Action" in statement) == ("NotAction" in statement):
            problems.append(f"{label}: needs Action or NotAction.")
        if ("Principal" in statement or "NotPrincipal" in statement) != principal:
            problems.append(f"{label}: {'needs a' if principal else 'may not have a'} Principal.")
        if ("Resource" in statement or "NotResource" in statement) != resource:
            problems.append(f"{label}: {'needs a' if resource else 'may not have a'} Resource.")
    return problems
