"""The building blocks of a pipeline's definition: values that are known when it runs, and the steps of each type.

The schema is https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_infra.hardware import takes_a_key

Value = Any
"""A string, a number, or an expression such as `{"Get": "Parameters.Run"}`."""
Step = dict[str, Any]

# docs.aws.amazon.com/sagemaker/latest/dg/pipelines-retry-policy.html
RETRIES = [
    {"ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"], "IntervalSeconds": 10, "BackoffRate": 2.0, "MaxAttempts": 6},
    {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"],
        "IntervalSeconds": 120,
        "BackoffRate": 2.0,
        "MaxAttempts": 5,
    },
]
OUTPUT_DIR = "/opt/ml/processing/output"


def parameter(name: str) -> Value:
    """The value an execution was started with."""
    return {"Get": f"Parameters.{name}"}


def joined(*values: Value, on: str = "") -> Value:
    """Strings and expressions put together when the step runs."""
    return {"Std:Join": {"On": on, "Values": list(values)}}


@dataclass(frozen=True)
class Place:
    """Where jobs of a pipeline run, and as whom they report."""

    environment: Mapping[str, Value]
    """Variables of every container."""
    subnet_ids: Sequence[str]
    group_ids: Sequence[str]
    role_arns: Mapping[str, str]
    """Role by service."""
    key_arns: Mapping[str, str]
    """Key by service: of its instances' volumes, which its role may lend to EC2."""
    cache_days: int
    tags: Mapping[str, str] = field(default_factory=dict)

    def vpc(self) -> dict[str, Any]:
        """The network of a job."""
        return {"Subnets": list(self.subnet_ids), "SecurityGroupIds": list(self.group_ids)}

    def cluster(self, role: str, instance_type: Value, count: Value, volume_gb: int, *, known_type: str) -> dict[str, Any]:
        """Instances; `known_type` is the type the environment names, by which a key for the volume is allowed or not."""
        key = {"VolumeKmsKeyId": self.key_arns[role]} if takes_a_key(known_type) else {}
        return {"InstanceType": instance_type, "InstanceCount": count, "VolumeSizeInGB": volume_gb, **key}

    def tag_list(self) -> list[dict[str, str]]:
        """The tags of a job."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def cached(self) -> dict[str, Any]:
        """What makes SageMaker reuse a step's result."""
        return {"CacheConfig": {"Enabled": True, "ExpireAfter": f"P{self.cache_days}D"}} if self.cache_days else {}


def processing(
    name: str,
    place: Place,
    *,
    image: Value,
    command: str,
    words: Sequence[Value],
    role: str,
    instance_type: str,
    max_runtime_s: int,
    after: Sequence[str] = (),
    report: Value | None = None,
) -> Step:
    """A command in a container of one instance. With `report`, an S3 prefix, its document is kept there for a condition to read."""
    document = (
        {}
        if report is None
        else {"PropertyFiles": [{"PropertyFileName": "Document", "OutputName": "document", "FilePath": "document.json"}]}
    )
    flags = [] if report is None else ["--exit-zero", "--document", f"{OUTPUT_DIR}/document.json"]
    arguments: dict[str, Any] = {
        "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": [command], "ContainerArguments": [*words, *flags]},
        "Environment": dict(place.environment),
        "ProcessingResources": {"ClusterConfig": place.cluster(role, instance_type, 1, 100, known_type=instance_type)},
        "NetworkConfig": {"EnableInterContainerTrafficEncryption": True, "VpcConfig": place.vpc()},
        "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime_s},
        "RoleArn": place.role_arns[role],
        "Tags": place.tag_list(),
    }
    if report is not None:
        kept = {"S3Uri": report, "LocalPath": OUTPUT_DIR, "S3UploadMode": "EndOfJob"}
        arguments["ProcessingOutputConfig"] = {"Outputs": [{"OutputName": "document", "S3Output": kept}]}
    step = {"Name": name, "Type": "Processing", "Arguments": arguments, "RetryPolicies": RETRIES, **place.cached(), **document}
    return step | ({"DependsOn": list(after)} if after else {})


def training(
    name: str,
    place: Place,
    *,
    image: Value,
    command: Sequence[str],
    settings: Mapping[str, Value],
    role: str,
    instances: dict[str, Any],
    output: Value,
    spot: bool,
    max_runtime_s: int,
    max_wait_s: int,
    after: Sequence[str] = (),
) -> Step:
    """A command on every host of a training cluster, which finds its settings as hyperparameters; spot jobs go on from their checkpoint."""
    wait = {"MaxWaitTimeInSeconds": max_wait_s} if spot else {}
    arguments = {
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [command[0]],
            "ContainerArguments": list(command[1:]),
        },
        "HyperParameters": dict(settings),
        "Environment": dict(place.environment),
        "ResourceConfig": instances,
        "OutputDataConfig": {"S3OutputPath": output, "KmsKeyId": place.key_arns[role]},
        "EnableManagedSpotTraining": spot,
        "EnableInterContainerTrafficEncryption": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime_s, **wait},
        "VpcConfig": place.vpc(),
        "RoleArn": place.role_arns[role],
        "Tags": place.tag_list(),
    }
    step = {"Name": name, "Type": "Training", "Arguments": arguments, "RetryPolicies": RETRIES, **place.cached()}
    return step | ({"DependsOn": list(after)} if after else {})


def register(
    name: str,
    *,
    group: str,
    image: str,
    package: Value,
    evaluation: Value,
    approval: Value,
    properties: Mapping[str, Value],
    after: Sequence[str],
) -> Step:
    """A version of the model package group: an uncompressed package in S3 and the image that serves it."""
    source = {"S3DataSource": {"S3Uri": package, "S3DataType": "S3Prefix", "CompressionType": "None"}}
    arguments = {
        "ModelPackageGroupName": group,
        "ModelApprovalStatus": approval,
        "InferenceSpecification": {
            "Containers": [{"Image": image, "ModelDataSource": source}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}}},
        "CustomerMetadataProperties": dict(properties),
    }
    return {"Name": name, "Type": "RegisterModel", "Arguments": arguments, "RetryPolicies": RETRIES[:1], "DependsOn": list(after)}


def condition(
    name: str, *, conditions: Sequence[dict[str, Any]], then: Sequence[Step], otherwise: Sequence[Step], after: Sequence[str] = ()
) -> Step:
    """The steps of one branch or of the other."""
    arguments = {"Conditions": list(conditions), "IfSteps": list(then), "ElseSteps": list(otherwise)}
    step = {"Name": name, "Type": "Condition", "Arguments": arguments}
    return step | ({"DependsOn": list(after)} if after else {})


def document_value(step: str, path: str) -> Value:
    """A field of the document that a `processing` step with `report` left."""
    return {"Std:JsonGet": {"PropertyFile": {"Get": f"Steps.{step}.PropertyFiles.Document"}, "Path": path}}


def fail(name: str, message: Value) -> Step:
    """Ends the execution as failed."""
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}
