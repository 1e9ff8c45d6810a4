"""For each rule of our own: its resource type, a resource that passes and resources that fail."""

import json
from copy import deepcopy
from typing import Any

Block = dict[str, Any]
Case = tuple[str, Block, list[Block]]


def changed(resource: Block, path: str, value: Any) -> Block:
    """A copy with one value at a dotted path changed; None takes the key away."""
    copy = deepcopy(resource)
    *parents, last = path.split(".")
    place: Any = copy
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def policy(**parts: Any) -> str:
    """A policy of one statement."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "It", "Effect": "Allow", **parts}]})


ENDPOINT: Block = {
    "name": "assistant",
    "endpoint_config_name": "assistant-1",
    "deployment_config": {
        "auto_rollback_configuration": {"alarms": [{"alarm_name": "errors"}]},
        "blue_green_update_policy": {"traffic_routing_configuration": {"type": "CANARY", "wait_interval_in_seconds": 60}},
    },
    "lifecycle": {"ignore_changes": ["deployment_config"]},
}
CONFIGURATION: Block = {
    "production_variants": [{"variant_name": "base", "model_name": "base"}],
    "data_capture_config": {
        "enable_capture": True,
        "kms_key_id": "${aws_kms_key.captures.arn}",
        "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
    },
}
MODEL: Block = {
    "execution_role_arn": "${aws_iam_role.serve.arn}",
    "primary_container": {"image": "1.dkr.ecr.eu-west-1.amazonaws.com/serve:0.38.0"},
    "vpc_config": {"subnets": ["subnet-1"], "security_group_ids": ["sg-1"]},
}
OPEN_STEP = {"Name": "package", "Type": "Processing", "Arguments": {}}
GATE = {"Name": "gate", "Type": "Condition", "Arguments": {"Conditions": [], "IfSteps": [OPEN_STEP], "ElseSteps": []}}
STEP = {"Name": "train", "Type": "Training", "Arguments": {"VpcConfig": {"Subnets": ["subnet-1"]}}}
PIPELINE: Block = {
    "pipeline_definition": json.dumps({"Steps": [STEP]}),
    "parallelism_configuration": {"max_parallel_execution_steps": 4},
    "role_arn": "${aws_iam_role.pipeline.arn}",
}
TRACKING: Block = {"artifact_store_uri": "s3://models/mlflow", "role_arn": "${aws_iam_role.tracking.arn}"}
ASSOCIATION: Block = {
    "data_repository_path": "s3://datasets/",
    "s3": {"auto_export_policy": {"events": ["NEW", "CHANGED"]}, "auto_import_policy": {"events": ["NEW", "CHANGED", "DELETED"]}},
}
LUSTRE: Block = {"deployment_type": "PERSISTENT_2", "kms_key_id": "${aws_kms_key.datasets.arn}", "security_group_ids": ["sg-1"]}
GATEWAY: Block = {
    "vpc_endpoint_type": "Interface",
    "private_dns_enabled": True,
    "security_group_ids": ["sg-1"],
    "policy": policy(
        Action=["sts:AssumeRole"], Resource="*", Principal={"AWS": "*"}, Condition={"StringEquals": {"aws:PrincipalAccount": "1"}}
    ),
}
OPEN = policy(Action=["sts:AssumeRole"], Resource="*", Principal="*")
INSIDE: Block = {
    "ip_protocol": "-1",
    "security_group_id": "${aws_security_group.efa.id}",
    "referenced_security_group_id": "${aws_security_group.efa.id}",
}
PRIVATE: Block = {"type": "network", "policy": json.dumps([{"Rules": [], "AllowFromPublic": False, "SourceVPCEs": ["vpce-1"]}])}
ENCRYPTED: Block = {"type": "encryption", "policy": json.dumps({"Rules": [], "AWSOwnedKey": False, "KmsARN": "arn:aws:kms:::key/1"})}
INDEX_RULE = {"ResourceType": "index", "Resource": ["index/v/*"], "Permission": ["aoss:ReadDocument"]}
ACCESS: Block = {"policy": json.dumps([{"Description": "readers", "Rules": [INDEX_RULE], "Principal": ["arn:aws:iam::1:role/serve"]}])}
PASS_ROLE = {"Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::1:role/train"]}
TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
GITHUB = {
    "StringEquals": {
        "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
        "token.actions.githubusercontent.com:sub": "repo:example/llmops:environment:prod",
    }
}
SERVICE = {"Action": ["sts:AssumeRole"], "Principal": {"Service": ["glue.amazonaws.com"]}}
FEDERATED = {"Action": ["sts:AssumeRoleWithWebIdentity"], "Principal": {"Federated": "arn:aws:iam::1:oidc-provider/x"}}
OWN = {"StringEquals": {"aws:SourceAccount": "1"}}


def github(**values: str) -> Block:
    """A trust in GitHub with other values of `aud` or `sub`."""
    asked = {**GITHUB["StringEquals"], **{f"token.actions.githubusercontent.com:{key}": value for key, value in values.items()}}
    return {"assume_role_policy": policy(**FEDERATED, Condition={"StringLike": asked})}


CASES: dict[str, Case] = {
    "LLMOPS_1": (
        "aws_sagemaker_endpoint",
        ENDPOINT,
        [
            changed(ENDPOINT, "deployment_config", None),
            changed(ENDPOINT, "deployment_config.auto_rollback_configuration.alarms", []),
            changed(ENDPOINT, "deployment_config.blue_green_update_policy.traffic_routing_configuration.type", "ALL_AT_ONCE"),
        ],
    ),
    "LLMOPS_2": (
        "aws_sagemaker_endpoint",
        ENDPOINT,
        [changed(ENDPOINT, "lifecycle", None), changed(ENDPOINT, "lifecycle.ignore_changes", ["tags"])],
    ),
    "LLMOPS_3": (
        "aws_sagemaker_endpoint_configuration",
        CONFIGURATION,
        [
            changed(CONFIGURATION, "data_capture_config", None),
            changed(CONFIGURATION, "data_capture_config.enable_capture", False),
            changed(CONFIGURATION, "data_capture_config.capture_options", [{"capture_mode": "Output"}]),
            changed(CONFIGURATION, "data_capture_config.kms_key_id", None),
        ],
    ),
    "LLMOPS_4": ("aws_sagemaker_model", MODEL, [changed(MODEL, "vpc_config", None), changed(MODEL, "vpc_config.security_group_ids", [])]),
    "LLMOPS_5": (
        "aws_sagemaker_model",
        MODEL,
        [changed(MODEL, "primary_container.image", "r.dkr.ecr/serve:latest"), changed(MODEL, "primary_container.image", "r.dkr.ecr/serve")],
    ),
    "LLMOPS_6": (
        "aws_sagemaker_pipeline",
        PIPELINE,
        [
            changed(PIPELINE, "parallelism_configuration", None),
            changed(PIPELINE, "pipeline_definition", json.dumps({"Steps": [{**STEP, "Arguments": {}}]})),
            changed(PIPELINE, "pipeline_definition", json.dumps({"Steps": [STEP, GATE]})),
        ],
    ),
    "LLMOPS_7": (
        "aws_sagemaker_mlflow_tracking_server",
        TRACKING,
        [changed(TRACKING, "artifact_store_uri", "file:///tmp"), changed(TRACKING, "role_arn", None)],
    ),
    "LLMOPS_8": (
        "aws_fsx_data_repository_association",
        ASSOCIATION,
        [changed(ASSOCIATION, "s3.auto_export_policy.events", ["NEW", "DELETED"]), changed(ASSOCIATION, "data_repository_path", "nfs://x")],
    ),
    "LLMOPS_9": (
        "aws_fsx_lustre_file_system",
        LUSTRE,
        [changed(LUSTRE, "deployment_type", "SCRATCH_2"), changed(LUSTRE, "kms_key_id", None), changed(LUSTRE, "security_group_ids", [])],
    ),
    "LLMOPS_10": ("aws_glue_job", {"security_configuration": "encrypted"}, [{}]),
    "LLMOPS_11": (
        "aws_sagemaker_flow_definition",
        {"output_config": {"s3_output_path": "s3://x", "kms_key_id": "k"}},
        [{"output_config": {"s3_output_path": "s3://x"}}],
    ),
    "LLMOPS_12": (
        "aws_vpc_endpoint",
        GATEWAY,
        [
            changed(GATEWAY, "policy", None),
            changed(GATEWAY, "policy", OPEN),
            changed(GATEWAY, "policy", policy(Action="*", Resource="*", Principal={"AWS": "arn:aws:iam::1:root"})),
        ],
    ),
    "LLMOPS_13": (
        "aws_vpc_endpoint",
        GATEWAY,
        [changed(GATEWAY, "private_dns_enabled", False), changed(GATEWAY, "security_group_ids", None)],
    ),
    "LLMOPS_14": (
        "aws_vpc_security_group_ingress_rule",
        INSIDE,
        [
            {"ip_protocol": "-1", "security_group_id": "sg-1", "cidr_ipv4": "10.0.0.0/8"},
            changed(INSIDE, "referenced_security_group_id", "sg-2"),
        ],
    ),
    "LLMOPS_15": (
        "aws_opensearchserverless_security_policy",
        PRIVATE,
        [
            changed(PRIVATE, "policy", json.dumps([{"Rules": [], "AllowFromPublic": True}])),
            changed(PRIVATE, "policy", json.dumps([{"Rules": [], "AllowFromPublic": False}])),
        ],
    ),
    "LLMOPS_16": (
        "aws_opensearchserverless_security_policy",
        ENCRYPTED,
        [
            changed(ENCRYPTED, "policy", json.dumps({"Rules": [], "AWSOwnedKey": True})),
            changed(ENCRYPTED, "policy", json.dumps({"Rules": []})),
        ],
    ),
    "LLMOPS_17": (
        "aws_opensearchserverless_access_policy",
        ACCESS,
        [
            changed(ACCESS, "policy", json.dumps([{"Rules": [INDEX_RULE], "Principal": ["*"]}])),
            changed(
                ACCESS,
                "policy",
                json.dumps([{"Rules": [{**INDEX_RULE, "Permission": ["aoss:*"]}], "Principal": ["arn:aws:iam::1:role/x"]}]),
            ),
        ],
    ),
    "LLMOPS_18": (
        "aws_iam_role_policy",
        {"policy": policy(**PASS_ROLE, Condition=TO_SAGEMAKER)},
        [
            {"policy": policy(**PASS_ROLE)},
            {"policy": policy(**{**PASS_ROLE, "Resource": "*"}, Condition=TO_SAGEMAKER)},
            {"policy": policy(Action=["s3:*"], Resource=["arn:aws:s3:::x"])},
            {"policy": policy(NotAction=["iam:*"], Resource=["*"])},
            {"policy": "no JSON"},
        ],
    ),
    "LLMOPS_19": (
        "aws_iam_role",
        {"assume_role_policy": policy(**FEDERATED, Condition=GITHUB)},
        [
            {"assume_role_policy": policy(**SERVICE)},
            {"assume_role_policy": policy(Action="sts:AssumeRole", Principal={"AWS": "*"})},
            github(sub="repo:example/*:environment:prod"),
            github(sub="*"),
            github(aud="elsewhere"),
        ],
    ),
    "LLMOPS_20": (
        "aws_s3_bucket_policy",
        {"policy": policy(Action=["s3:PutObject"], Resource="x", Principal={"Service": "logging.s3.amazonaws.com"}, Condition=OWN)},
        [
            {"policy": policy(Action=["s3:GetObject"], Resource="x", Principal="*")},
            {"policy": policy(Action=["s3:GetObject"], Resource="x", Principal="*", Condition={"ArnLike": {"aws:PrincipalArn": "arn:*"}})},
            {"policy": policy(Action=["s3:*"], Resource="x", Principal={"AWS": "arn:aws:iam::1:root"})},
            {"policy": policy(Action=["s3:PutObject"], Resource="*", Principal={"AWS": "arn:aws:iam::1:root"})},
            {"policy": policy(Action=["s3:PutObject"], Resource="x", Principal={"Service": "logging.s3.amazonaws.com"})},
        ],
    ),
    "LLMOPS_21": (
        "aws_iam_role_policy",
        {"policy": policy(Action=["ec2:DescribeVpcs", "textract:DetectDocumentText", "s3:GetBucketPolicy"], Resource=["*"])},
        [
            {"policy": policy(Action=[action], Resource=["*"])}
            for action in ("s3:GetObject", "s3:ListBucket", "kms:Decrypt", "sagemaker:CreateModel")
        ],
    ),
    "LLMOPS_22": (
        "aws_iam_role_policy",
        {"policy": policy(Action=["s3:ListBucket"], Resource=["arn:aws:s3:::x"], Condition={"StringLike": {"s3:prefix": ["datasets/*"]}})},
        [
            {"policy": policy(Action=["s3:ListBucket"], Resource=["arn:aws:s3:::x"])},
            {"policy": policy(Action=["kms:CreateGrant"], Resource=["arn:aws:kms:eu-west-1:1:key/x"])},
            {"policy": policy(Action=["cloudwatch:PutMetricData"], Resource=["*"])},
            {"policy": policy(Action=["kendra:Query"], Resource=["arn:aws:kendra:eu-west-1:1:index/*"])},
        ],
    ),
}
