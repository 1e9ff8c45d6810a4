"""Flips every security-relevant attribute of synthesized resources, one at a time."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Block = dict[str, Any]
Resources = dict[str, dict[str, Block]]
Path = tuple[str | int, ...]


class Mutant(NamedTuple):
    """One resource with one thing wrong; None: the resource is gone."""

    type: str
    name: str
    what: str
    resource: Block | None

    def label(self) -> str:
        """How it is named in reports."""
        return f"{self.type}.{self.name}: {self.what}"


# what each of these becomes
WORSE: dict[str, Any] = {
    "artifact_store_uri": "file:///tmp/mlflow",
    "capture_mode": "Output",
    "cidr_ipv4": "0.0.0.0/0",
    "cloudwatch_encryption_mode": "DISABLED",
    "deletion_protection": "INACTIVE",
    "deployment_type": "SCRATCH_2",
    "encryption_type": "AES256",
    "image": "serve:latest",
    "image_tag_mutability": "MUTABLE",
    "ip_protocol": "-1",
    "job_bookmarks_encryption_mode": "DISABLED",
    "mfa_configuration": "OFF",
    "object_ownership": "ObjectWriter",
    "s3_encryption_mode": "DISABLED",
    "sse_algorithm": "AES256",
    "traffic_type": "REJECT",
    "backup_retention_period": 1,
    "minimum_length": 6,
    "monitoring_interval": 0,
    "retention_in_days": 1,
}
# what is taken away: keys, groups, places in the network, where logs and alarms go
TAKEN = re.compile(
    r"kms_|_kms|kms_key|key_arn$|^security_group_ids$|^vpc_security_group_ids$|^vpc_config$|^security_configuration$|^alarms$|^alarm_actions$"
    r"|^auto_rollback_configuration$|^log_destination$|^enabled_cloudwatch_logs_exports$|^ignore_changes$|^max_parallel_execution_steps$"
)
# switches that are no matter of security: what they are instead
NO_MATTER = {
    "bucket_key_enabled": "price",
    "force_destroy": "convenience of environments without `protect`",
    "force_delete": "convenience of environments without `protect`",
    "skip_final_snapshot": "convenience of environments without `protect`",
    "return_data": "which of an alarm's expressions is looked at",
    "automatic_model_registration": "bookkeeping",
    "batch_import_meta_data_on_create": "speed",
    "efa_enabled": "speed",
    "disable_scale_in": "price",
    "create_before_destroy": "order of changes",
    "enable_dns_support": "needed by private endpoints, which Terraform reports without it",
    "enable_dns_hostnames": "needed by private endpoints, which Terraform reports without it",
    "include_global_service_events": "bookkeeping",
    "use_amortized": "how the budget counts",
    "use_blended": "how the budget counts",
    "prevent_destroy": "convenience of environments without `protect`",
}
# a type whose absence is a hole
GONE = {
    "aws_s3_bucket_public_access_block", "aws_s3_bucket_ownership_controls", "aws_s3_bucket_policy", "aws_s3_bucket_versioning",
    "aws_s3_bucket_server_side_encryption_configuration", "aws_s3_bucket_logging", "aws_s3_bucket_lifecycle_configuration",
    "aws_flow_log", "aws_ecr_lifecycle_policy",
}  # fmt: skip
POLICIES = ("policy", "assume_role_policy")


def mutants(resources: Resources) -> Iterator[Mutant]:
    """All of them."""
    for type_name, named in resources.items():
        for name, resource in named.items():
            bare = {key: value for key, value in resource.items() if key != "//"}
            if type_name in GONE and "Suspended" not in json.dumps(bare):
                yield Mutant(type_name, name, "gone", None)
            for what, changed in changes(type_name, bare):
                yield Mutant(type_name, name, what, changed)


def changes(type_name: str, resource: Block) -> Iterator[tuple[str, Block]]:
    """A resource with each of its attributes made worse."""
    for path, value in walk(resource, ()):
        key = str(path[-1])
        where = ".".join(map(str, path))
        if TAKEN.search(key) and not isinstance(path[-1], int) and (key != "ignore_changes" or type_name == "aws_sagemaker_endpoint"):
            yield f"without {where}", put(resource, path, None)
        if isinstance(value, bool) and key not in NO_MATTER:
            yield f"{where} is {not value}", put(resource, path, not value)
        elif key in WORSE and not isinstance(value, dict | list) and value != WORSE[key]:
            yield f"{where} is {WORSE[key]}", put(resource, path, WORSE[key])
        elif key == "status" and value == "Enabled":
            yield f"{where} is off", put(resource, path, "Suspended" if type_name == "aws_s3_bucket_versioning" else "Disabled")
        elif key == "type" and value in ("CANARY", "LINEAR"):
            yield f"{where} is ALL_AT_ONCE", put(resource, path, "ALL_AT_ONCE")
        elif key == "value" and value == "1" and type_name == "aws_rds_cluster_parameter_group" and path[-2] == 0:
            yield f"{where} is 0", put(resource, path, "0")
        elif key in POLICIES and len(path) == 1:
            for what, policy in worse_policies(json.loads(value)):
                yield f"{where}: {what}", put(resource, path, json.dumps(policy))


def worse_policies(policy: Any) -> Iterator[tuple[str, Any]]:
    """A policy document with each statement widened; also the documents of OpenSearch Serverless."""
    if isinstance(policy, dict) and "Statement" in policy:
        for index, statement in enumerate(policy["Statement"]):
            for what, wider in worse_statements(statement):
                yield f"{statement.get('Sid', index)} {what}", put(policy, ("Statement", index), wider)
        return
    for path, value in walk(policy, ()):
        if path[-1] in ("AllowFromPublic", "AWSOwnedKey"):
            yield f"{path[-1]} is {not value}", put(policy, path, not value)
        elif path[-1] in ("KmsARN", "SourceVPCEs"):
            yield f"without {path[-1]}", put(policy, path, None)
        elif path[-1] == "Principal":
            yield "for everybody", put(policy, path, ["*"])
        elif path[-1] == "Permission":
            yield "for everything", put(policy, path, ["aoss:*"])


def worse_statements(statement: Block) -> Iterator[tuple[str, Block | None]]:
    """A statement that allows more, or denies no more."""
    if statement["Effect"] == "Deny":
        yield "denies no more", None
        return
    yield "allows every action", {**statement, "Action": ["*"]}
    services = sorted({action.partition(":")[0] for action in statement["Action"] if ":" in action})
    if "Principal" not in statement:
        yield "allows every action of a service", {**statement, "Action": [f"{services[0]}:*"]}
    if "*" not in statement.get("Resource", ["*"]):
        yield "on every resource", {**statement, "Resource": ["*"]}
    if statement.get("Condition"):
        yield "without its condition", {key: value for key, value in statement.items() if key != "Condition"}
    if "Principal" in statement and "*" not in str(statement["Principal"]):
        yield "for everybody", {**statement, "Principal": {"AWS": "*"}}


def walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every value with its path, containers included."""
    if path:
        yield path, value
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from walk(item, (*path, key))


def put(root: Any, path: Path, value: Any) -> Any:
    """A copy with one value changed; None takes it away."""
    changed = copy.deepcopy(root)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed
