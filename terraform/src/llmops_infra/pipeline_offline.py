"""The pipeline on this machine: the definition that Terraform applied to the simulated AWS, run step by step."""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llmops_infra.config import Environment
from llmops_infra.sagemaker import Started
from llmops_infra.terraform import check, offline_terraform
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)


def applied(stack: Path) -> dict[str, Any]:
    """The pipeline of a platform stack as it is after an apply, every expression of Terraform worked out."""
    with ExitStack() as resources:
        terraform = offline_terraform(resources)
        check(terraform.run(stack, "init", "-input=false").returncode, "init", "platform")
        check(terraform.run(stack, "apply", "-auto-approve").returncode, "apply", "platform")
        state = json.loads(terraform.run(stack, "show", "-json").stdout)
    found = state["values"]["root_module"]["resources"]
    definition = next(one["values"]["pipeline_definition"] for one in found if one["type"] == "aws_sagemaker_pipeline")
    buckets = [one["values"]["bucket"] for one in found if one["type"] == "aws_s3_bucket"]
    return {"definition": json.loads(definition), "buckets": buckets}


def run_offline(environment: Environment, stack: Path, work: Path, run: str, parameters: Mapping[str, str], source: Path | None) -> Started:
    """Runs the pipeline on S3 simulated by moto; `source` is put where the parameter `Source` points. Raises LlmopsError when a step fails.

    What a finished execution left in S3 is copied to `work/s3`.
    """
    from llmops_offline.expressions import Execution
    from llmops_offline.pipeline import LocalPipeline, clear, simulated_aws, upload

    platform = applied(stack)
    definition = platform["definition"]
    clear(work)
    given = {"Run": run, **parameters}
    values = {one["Name"]: given.get(one["Name"], one.get("DefaultValue")) for one in definition["Parameters"]}
    if missing := [name for name, value in values.items() if value is None]:
        raise LlmopsError(f"parameters {', '.join(missing)} have no default: give each as --parameter NAME=VALUE")
    with simulated_aws(environment.region) as variables:
        import boto3

        client = boto3.client("s3")
        place = {} if environment.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": environment.region}}
        for bucket in platform["buckets"]:
            client.create_bucket(Bucket=bucket, **place)
        if source:
            upload(source, values["Source"])
        if not values["Model"].startswith("s3://"):
            upload(Path(values["Model"]), model_uri := f"{values['Source'].rpartition('/')[0]}/model")
            values["Model"] = model_uri
        execution = Execution({**values, "InstanceCount": 1}, {"PipelineName": environment.prefix, "PipelineExecutionId": run})
        tracking = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{work.absolute()}/mlflow.db")
        pipeline = LocalPipeline(definition, execution, work, {**variables, "MLFLOW_TRACKING_URI": tracking})
        try:
            pipeline.run()
        finally:
            keep(client, platform["buckets"], work / "s3")
    arn = f"arn:aws:sagemaker:{environment.region}:simulated:pipeline/{environment.prefix}/execution/{run}"
    return Started(pipeline=environment.prefix, execution_arn=arn, run=run, status="Succeeded", usd=0.0)


def keep(client: Any, buckets: list[str], folder: Path) -> None:
    """Copies what the buckets hold to a folder, for a person to look at."""
    for bucket in buckets:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                path = folder / bucket / item["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, item["Key"], str(path))
