"""Rules on what runs and records jobs: the pipeline, MLflow, the file system's way to S3."""

from collections.abc import Iterator
from typing import Any

from llmops_infra.rules.rule import Block, blocks, document, nested, rule

# steps of a pipeline that start instances, and where their arguments name the network
NETWORKED = {"Training": ("VpcConfig",), "Processing": ("NetworkConfig", "VpcConfig"), "Tuning": ("TrainingJobDefinition", "VpcConfig")}


@rule("LLMOPS_6", "Every job of a pipeline runs inside the VPC, and few at once", "aws_sagemaker_pipeline")
def pipeline_is_private(pipeline: Block) -> str | None:
    definition = document(pipeline, "pipeline_definition")
    for step in steps_of((definition or {}).get("Steps", [])):
        place: Any = step.get("Arguments", {})
        for name in NETWORKED.get(str(step.get("Type")), ()):
            place = place.get(name, {})
        if step.get("Type") in NETWORKED and not place.get("Subnets"):
            return f"step {step.get('Name')} names no subnets"
    if not nested(pipeline, "parallelism_configuration").get("max_parallel_execution_steps"):
        return "parallelism_configuration sets no limit, so that a mistake may start every job at once"
    return None


def steps_of(steps: list[Block]) -> Iterator[Block]:
    """All steps, those in the branches of a condition included."""
    for step in steps:
        yield step
        branches = step.get("Arguments", {})
        yield from steps_of([*branches.get("IfSteps", []), *branches.get("ElseSteps", [])])


@rule(
    "LLMOPS_7",
    "MLflow keeps its artifacts in a bucket of ours, under a role",
    "aws_sagemaker_mlflow_tracking_server",
    "aws_sagemaker_mlflow_app",
)
def tracking_is_ours(server: Block) -> str | None:
    if not str(server.get("artifact_store_uri", "")).startswith("s3://"):
        return f"artifact_store_uri is {server.get('artifact_store_uri')}"
    return None if server.get("role_arn") else "role_arn is missing"


@rule("LLMOPS_8", "The file system never deletes in S3", "aws_fsx_data_repository_association")
def never_deletes_in_s3(association: Block) -> str | None:
    export = nested(association, "s3", "auto_export_policy")
    if "DELETED" in (export.get("events") or []):
        return "auto_export_policy exports deletions: a cleared file system would clear the bucket"
    if association.get("delete_data_in_filesystem") is False and export:
        return "data stays behind when the association goes"
    return None if str(association.get("data_repository_path", "")).startswith("s3://") else "data_repository_path is no s3:// URI"


@rule("LLMOPS_9", "Lustre is durable, encrypted with a key of ours and reachable by a group of ours only", "aws_fsx_lustre_file_system")
def lustre_is_durable(system: Block) -> str | None:
    if not str(system.get("deployment_type", "")).startswith("PERSISTENT"):
        return f"deployment_type is {system.get('deployment_type')}: scratch data dies with a server"
    if not system.get("kms_key_id"):
        return "kms_key_id is missing"
    return None if system.get("security_group_ids") else "security_group_ids are missing, so that it gets the VPC's default group"


@rule("LLMOPS_10", "Jobs on Glue encrypt what they write, under a named configuration", "aws_glue_job")
def glue_encrypts(job: Block) -> str | None:
    return None if job.get("security_configuration") else "security_configuration is missing"


@rule("LLMOPS_11", "Labels and reviews are written encrypted", "aws_sagemaker_flow_definition")
def reviews_are_encrypted(flow: Block) -> str | None:
    return None if all(block.get("kms_key_id") for block in blocks(flow, "output_config")) else "output_config.kms_key_id is missing"
