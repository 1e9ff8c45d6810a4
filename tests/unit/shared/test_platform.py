"""The Platform document, read from what `terraform output -json` prints."""

import json

import pytest
from pydantic import ValidationError

from llmops_shared.contracts import Platform

VALUES = {
    name: f"s3://bucket/{name}"
    for name in Platform.model_fields
    if name.endswith("_uri")
} | {
    "schema_version": 1,
    "kind": "platform",
    "environment": "dev",
    "region": "eu-west-1",
    "vpc_id": "vpc-1",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "job_security_group_ids": ["sg-1"],
    "placement_group": "llmops-dev-cluster",
    "key_arns": {"raw": "arn:aws:kms:eu-west-1:111122223333:key/1"},
    "role_arns": {"train": "arn:aws:iam::111122223333:role/llmops-dev-train"},
    "repository_urls": {"train": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/llmops-dev/train"},
    "model_package_group": "llmops-dev",
    "glue_job": "llmops-dev-preprocess",
    "training": {
        "instance_type": "ml.g5.2xlarge",
        "num_instances": 1,
        "efa": False,
        "spot": True,
        "warm_pool_s": 0,
        "max_runtime_s": 3600,
        "max_wait_s": 7200,
    },
    "alarm_topic_arn": "arn:aws:sns:eu-west-1:111122223333:llmops-dev-alerts",
}  # fmt: skip


def outputs(values: dict[str, object]) -> bytes:
    """As Terraform prints them."""
    return json.dumps({name: {"sensitive": False, "type": "string", "value": value} for name, value in values.items()}).encode()


def test_outputs_become_a_document_and_what_terraform_leaves_out_is_none() -> None:
    platform = Platform.from_outputs(outputs(VALUES))

    assert platform.datasets_uri == "s3://bucket/datasets_uri"
    assert platform.training.instance_type == "ml.g5.2xlarge"
    assert platform.file_system is None and platform.pgvector_host is None
    assert Platform.model_validate_json(platform.to_json()) == platform


def test_an_output_that_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(ValidationError, match="vpc_id"):
        Platform.from_outputs(outputs({name: value for name, value in VALUES.items() if name != "vpc_id"}))
    with pytest.raises(ValidationError, match="bucket_of_old"):
        Platform.from_outputs(outputs(VALUES | {"bucket_of_old": "x"}))


def test_what_is_no_output_is_refused() -> None:
    with pytest.raises(ValueError, match="terraform output -json"):
        Platform.from_outputs(json.dumps(VALUES))
