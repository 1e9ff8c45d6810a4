"""What the simulated AWS accepts, and what it rejects and with which words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_offline import workspace
from llmops_offline.cli import main
from llmops_offline.terraform import OfflineTerraform

Configuration = dict[str, Any]

BASE: Configuration = {
    "terraform": {
        "required_providers": {"aws": {"source": "hashicorp/aws"}},
        # a backend that cannot be reached: the state has to stay local nevertheless
        "backend": {"s3": {"bucket": "nowhere", "key": "state", "region": "us-east-1"}},
    },
    "provider": {
        "aws": [
            {"region": "us-east-1", "default_tags": [{"tags": {"project": "selftest"}}]},
            {"region": "eu-west-1", "alias": "replica"},
        ]
    },
}
TRUST = {"actions": ["sts:AssumeRole"], "principals": [{"type": "Service", "identifiers": ["sagemaker.amazonaws.com"]}]}
VALID: Configuration = {
    "data": {
        "aws_availability_zones": {"zones": {}},
        "aws_caller_identity": {"me": {}},
        "aws_iam_policy_document": {"trust": {"statement": [TRUST]}},
    },
    "resource": {
        "aws_vpc": {"main": {"cidr_block": "10.0.0.0/16", "tags": {"Name": "main"}}},
        "aws_subnet": {
            "private": {
                "count": 2,
                "vpc_id": "${aws_vpc.main.id}",
                "cidr_block": "${cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)}",
                "availability_zone": "${data.aws_availability_zones.zones.names[count.index]}",
            }
        },
        "aws_iam_role": {"exec": {"assume_role_policy": "${data.aws_iam_policy_document.trust.json}"}},
        "aws_s3_bucket": {
            "data": {"bucket": "data-${data.aws_caller_identity.me.account_id}"},
            "copy": {"provider": "aws.replica", "bucket_prefix": "copy-"},
        },
        "aws_s3_bucket_versioning": {"data": {"bucket": "${aws_s3_bucket.data.id}", "versioning_configuration": [{"status": "Enabled"}]}},
        "aws_sagemaker_model": {
            "live": {
                "execution_role_arn": "${aws_iam_role.exec.arn}",
                "primary_container": [{"image": "${provider::aws::arn_parse(aws_iam_role.exec.arn).account_id}/image"}],
                "vpc_config": [{"subnets": "${aws_subnet.private[*].id}", "security_group_ids": []}],
            }
        },
    },
    "output": {"role": {"value": "${aws_iam_role.exec.arn}"}, "tags": {"value": "${aws_vpc.main.tags_all}"}},
}


def resources(**resources: Configuration) -> Configuration:
    return {"resource": resources}


ROLE = "arn:aws:iam::123456789012:role/x"
NO_RESOURCE = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject"}]})
REJECTED: dict[str, tuple[Configuration, str]] = {
    "unknown argument": (
        resources(aws_vpc={"x": {"cidr_block": "10.0.0.0/16", "cidr": "10.0.0.0/16"}}),
        'No argument or block type is named "cidr"',
    ),
    "unknown argument in a nested block": (
        resources(aws_s3_bucket_versioning={"x": {"bucket": "xxx", "versioning_configuration": [{"state": "Enabled"}]}}),
        'No argument or block type is named "state"',
    ),
    "unknown resource type": (resources(aws_sagemaker_models={"x": {}}), 'does not support resource type "aws_sagemaker_models"'),
    "missing required argument": (
        resources(aws_sagemaker_endpoint={"x": {"name": "x"}}),
        'The argument "endpoint_config_name" is required',
    ),
    "missing required block": (
        resources(aws_sagemaker_flow_definition={"x": {"flow_definition_name": "x", "role_arn": ROLE}}),
        'At least 1 "human_loop_config" blocks are required',
    ),
    "too many blocks": (
        resources(aws_sagemaker_model={"x": {"execution_role_arn": ROLE, "primary_container": [{"image": "a"}, {"image": "b"}]}}),
        'No more than 1 "primary_container" blocks are allowed',
    ),
    "wrong type": (resources(aws_vpc={"x": {"cidr_block": "10.0.0.0/16", "enable_dns_support": [True]}}), "bool required"),
    "value for what AWS decides": (
        resources(aws_vpc={"x": {"cidr_block": "10.0.0.0/16", "owner_id": "1"}}),
        "Can't configure a value for 'owner_id'",
    ),
    "malformed CIDR block": (resources(aws_vpc={"x": {"cidr_block": "10.0.0.1/16"}}), "has host bits set"),
    "malformed ARN": (
        resources(aws_sagemaker_model={"x": {"execution_role_arn": "role/x", "primary_container": [{"image": "a"}]}}),
        "'role/x' is not an ARN",
    ),
    "reference to an attribute that does not exist": (
        resources(
            aws_vpc={"x": {"cidr_block": "10.0.0.0/16"}},
            aws_subnet={"x": {"vpc_id": "${aws_vpc.x.vpc_id}", "cidr_block": "10.0.0.0/24"}},
        ),
        'no argument, nested block, or exported attribute named "vpc_id"',
    ),
    "reference to a resource that does not exist": (
        resources(aws_subnet={"x": {"vpc_id": "${aws_vpc.x.id}", "cidr_block": "10.0.0.0/24"}}),
        "Reference to undeclared resource",
    ),
    "cycle": (
        resources(aws_sqs_queue={"a": {"name": "a-${aws_sqs_queue.b.id}"}, "b": {"name": "b-${aws_sqs_queue.a.id}"}}),
        "Cycle:",
    ),
    "secret in a plain output": (
        {
            **resources(aws_ssm_parameter={"x": {"name": "x", "type": "String", "value": "y"}}),
            "output": {"x": {"value": "${aws_ssm_parameter.x.value}"}},
        },
        "Output refers to sensitive values",
    ),
    "policy without a resource": (resources(aws_iam_policy={"x": {"policy": NO_RESOURCE}}), "needs a Resource"),
}


def write(folder: Path, configuration: Configuration) -> None:
    (folder / "main.tf.json").write_text(json.dumps({**BASE, **configuration}))


@pytest.fixture(scope="module")
def folder(terraform: OfflineTerraform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An initialized folder with the valid configuration."""
    folder = tmp_path_factory.mktemp("offline")
    write(folder, VALID)
    initialized = terraform.run(folder, "init")
    assert initialized.returncode == 0, initialized.stderr
    yield folder
    workspace.forget(folder)


def test_a_valid_configuration_is_applied_settles_and_is_destroyed(terraform: OfflineTerraform, folder: Path) -> None:
    write(folder, VALID)

    assert "The configuration is valid" in terraform.run(folder, "validate").stdout
    assert "8 to add, 0 to change, 0 to destroy" in terraform.run(folder, "plan").stdout
    assert "8 added, 0 changed, 0 destroyed" in terraform.run(folder, "apply", "-auto-approve").stdout
    assert terraform.run(folder, "plan", "-detailed-exitcode").returncode == 0
    outputs = json.loads(terraform.run(folder, "output", "-json").stdout)
    assert outputs["role"]["value"].startswith("arn:aws:iam::123456789012:role/")
    assert outputs["tags"]["value"] == {"Name": "main", "project": "selftest"}
    assert not list(folder.glob("*.tfstate*")) and not (folder / ".terraform").exists(), "the configuration's own folder is left alone"
    assert "8 destroyed" in terraform.run(folder, "destroy", "-auto-approve").stdout


@pytest.mark.parametrize("what", REJECTED)
def test_a_wrong_configuration_is_rejected(what: str, terraform: OfflineTerraform, folder: Path) -> None:
    configuration, words = REJECTED[what]
    write(folder, configuration)

    planned = terraform.run(folder, "plan")

    assert planned.returncode == 1
    assert words in re.sub(r"[\s│]+", " ", planned.stdout + planned.stderr)


@pytest.mark.parametrize("bucket", ["nowhere", ""], ids=["named", "left to init"])
def test_a_neighbouring_stack_is_read_from_its_simulated_state(bucket: str, terraform: OfflineTerraform, tmp_path: Path) -> None:
    below, above = tmp_path / "platform", tmp_path / "serving"
    backend = {"bucket": "nowhere", "key": "platform", "region": "us-east-1"}
    base = {"terraform": {**BASE["terraform"], "backend": {"s3": {**backend, "bucket": bucket}}}, "provider": BASE["provider"]}
    remote = {"terraform_remote_state": {"platform": {"backend": "s3", "config": backend}}}
    for stack in (below, above):
        stack.mkdir()
    (below / "main.tf.json").write_text(json.dumps({**base, "output": {"vpc": {"value": "vpc-1"}}}))
    (above / "main.tf.json").write_text(
        json.dumps({**BASE, "data": remote, "output": {"vpc": {"value": "${data.terraform_remote_state.platform.outputs.vpc}"}}})
    )

    for stack in (below, above):
        terraform.run(stack, "init")
        applied = terraform.run(stack, "apply", "-auto-approve")

    assert 'vpc = "vpc-1"' in applied.stdout
    for stack in (below, above):
        workspace.forget(stack)


def test_the_command_forgets_a_state_and_names_a_missing_folder(
    terraform: OfflineTerraform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "main.tf.json").write_text(json.dumps(BASE))
    work = workspace.prepare(tmp_path)

    assert main([f"-chdir={tmp_path}", "forget"]) == 0
    assert not work.exists()
    assert main([f"-chdir={tmp_path}/none", "plan"]) == 2
    assert "none: no such folder" in capsys.readouterr().err
