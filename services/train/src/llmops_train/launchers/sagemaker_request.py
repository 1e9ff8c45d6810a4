"""The CreateTrainingJob request of a run, built by the SageMaker SDK's ModelTrainer."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join
from llmops_train.launchers.ecr import newest_image
from llmops_train.launchers.sagemaker_channels import channel_kind, channels, copied_gb
from llmops_train.launchers.sagemaker_container import checkpoints, distributed, environment, hyperparameters, source_code
from llmops_train.launchers.sagemaker_job import Job

LOCAL_DISKS = re.compile(r"^(g4dn|gr?6|g[56]e?|p3dn|p4de?|p5(e|en)?|p6-?.*|trn\d.*|i\d.*|[cmr]\d[a-z]*d[a-z]*)$")
"""Families with disks inside the host, which the hardware encrypts: SageMaker refuses a job that names a key for them."""

SPARE_GB = 100
"""Room beside a copy of the data: image layers, base model, checkpoints on their way to S3."""


def request_of(job: Job, session: Any) -> dict[str, Any]:
    """The request. In script mode it puts the code into S3, unless the session only rehearses."""
    from sagemaker.core.training import configs  # type: ignore[import-untyped]
    from sagemaker.train import ModelTrainer  # type: ignore[import-untyped]

    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")  # the SDK would ask IAM, which the role of CI may not; SageMaker checks it
    platform, settings = job.platform, job.settings
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ModelTrainer(
            sagemaker_session=session,
            training_image=settings.image
            or newest_image(session.boto_session.client("ecr"), own(platform.repository_urls, "repository_urls")),
            role=own(platform.role_arns, "role_arns"),
            base_job_name=job.name,
            source_code=source_code(job, Path(scratch)),
            distributed=distributed(job),
            compute=compute(job),
            networking=configs.Networking(
                subnets=subnets(job),
                security_group_ids=list(platform.job_security_group_ids),
                enable_inter_container_traffic_encryption=settings.encrypt_traffic,
            ),
            stopping_condition=stopping(job),
            output_data_config=configs.OutputDataConfig(
                s3_output_path=join(platform.checkpoints_uri, "jobs"), kms_key_id=platform.key_arns.get("checkpoints")
            ),
            checkpoint_config=configs.CheckpointConfig(s3_uri=checkpoints(job)) if job.num_training == 1 else None,
            environment=environment(job),
            hyperparameters=hyperparameters(job),
            tags=[{"key": key, "value": value} for key, value in tags(job).items()],
        )
        # what ModelTrainer.train() sends, but with our name for the job: its own has a time in it, so every submit would be another job
        request: dict[str, Any] = trainer._create_training_job_args(input_data_config=channels(job), boto3=True)
        if trainer._temp_code_dir is not None:
            trainer._temp_code_dir.cleanup()
    return {"TrainingJobName": job.name, **{key: value for key, value in request.items() if key != "TrainingJobName" and value is not None}}


def image(job: Job, session: Any) -> str:
    """The container image."""
    if job.settings.image is not None:
        return job.settings.image
    return newest_image(session.boto_session.client("ecr"), own(job.platform.repository_urls, "repository_urls"))


def tags(job: Job) -> dict[str, str]:
    """What the job is found and billed by."""
    return {"Environment": job.platform.environment, "Run": job.config.name, **job.settings.tags}


def own(values: Mapping[str, str], field: str) -> str:
    """What the platform has for this service."""
    if "train" not in values:
        raise LlmopsError(f"the platform document's {field} has no `train` (has {', '.join(sorted(values))}); apply its stack again")
    return values["train"]


def subnets(job: Job) -> list[str]:
    """Private subnets: the file system's zone where the job mounts it, and for hosts that talk by EFA, which does not cross zones."""
    near = channel_kind(job) == "fsx" or (job.num_training > 1 and job.platform.training.efa)
    return list(job.platform.subnet_ids[:1] if near else job.platform.subnet_ids)


def compute(job: Job) -> Any:
    """Instances, their disks and how long they are kept."""
    from sagemaker.core.shapes import InstanceGroup  # type: ignore[import-untyped]
    from sagemaker.core.training import configs

    settings, training = job.settings, job.platform.training
    warm = settings.warm_pool_s if settings.warm_pool_s is not None else (0 if job.spot else training.warm_pool_s)
    kinds: dict[str, Any] = {"instance_type": job.type, "instance_count": job.num_training}
    types = [job.type]
    if settings.instance_groups:
        types = [group.instance_type for group in settings.instance_groups]
        kinds = {
            "instance_groups": [
                InstanceGroup(instance_group_name=group.name, instance_type=group.instance_type, instance_count=group.num_instances)
                for group in settings.instance_groups
            ]
        }
    key = (
        {}
        if any(LOCAL_DISKS.match(name.split(".")[1]) for name in types)
        else {"volume_kms_key_id": job.platform.key_arns.get("checkpoints")}
    )
    return configs.Compute(
        **kinds,
        **key,
        volume_size_in_gb=settings.volume_gb or SPARE_GB + copied_gb(job),
        keep_alive_period_in_seconds=warm or None,
        enable_managed_spot_training=job.spot or None,
    )


def stopping(job: Job) -> Any:
    """Limits of the job's time."""
    from sagemaker.core.training import configs

    settings, training = job.settings, job.platform.training
    runtime = settings.max_runtime_s or training.max_runtime_s
    wait = max(runtime, settings.max_wait_s or training.max_wait_s) if job.spot else None
    return configs.StoppingCondition(max_runtime_in_seconds=runtime, max_wait_time_in_seconds=wait, max_pending_time_in_seconds=None)
