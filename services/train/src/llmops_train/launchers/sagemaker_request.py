"""The CreateTrainingJob request of a run, built by the SageMaker SDK's ModelTrainer."""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmops_shared.contracts import DatasetManifest, Platform
from llmops_shared.documents import document_uri
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of, join
from llmops_train.config import TrainConfig
from llmops_train.container_config import InContainer
from llmops_train.feed.open import find_shards
from llmops_train.feed.plan import plan_s3
from llmops_train.launch_config import LaunchConfig
from llmops_train.sagemaker_config import SageMakerConfig

CHANNEL = "dataset"

MAX_HYPERPARAMETERS, MAX_VALUE = 100, 2500  # of CreateTrainingJob

LOCAL_DISKS = re.compile(r"^(g4dn|gr?6|g[56]e?|p3dn|p4de?|p5(e|en)?|p6-?.*|trn\d.*|i\d.*|[cmr]\d[a-z]*d[a-z]*)$")
"""Families with disks inside the host, which the hardware encrypts: SageMaker refuses a job that names a key for them."""

SPARE_GB = 100
"""Room beside a copy of the data: image layers, base model, checkpoints on their way to S3."""

START = """import sys

from llmops_train.cli import main

sys.exit(main(["train"]))
"""


@dataclass(frozen=True)
class Job:
    """A training job that is to be."""

    name: str
    config: TrainConfig
    launch: LaunchConfig
    platform: Platform
    manifest: DatasetManifest

    @property
    def settings(self) -> SageMakerConfig:
        """The job's own settings."""
        assert self.launch.sagemaker is not None
        return self.launch.sagemaker

    @property
    def type(self) -> str:
        """The instance type that trains."""
        groups = [group for group in self.settings.instance_groups if not group.feeds]
        return groups[0].instance_type if groups else self.settings.instance_type or self.platform.training.instance_type

    @property
    def num_training(self) -> int:
        """Instances that train."""
        groups = [group for group in self.settings.instance_groups if not group.feeds]
        return groups[0].num_instances if groups else self.settings.num_instances or self.platform.training.num_instances

    @property
    def spot(self) -> bool:
        """Whether it runs on spare capacity; SageMaker has none for heterogeneous clusters' warm pools."""
        return self.platform.training.spot if self.settings.spot is None else self.settings.spot


def job_of(config: TrainConfig, launch: LaunchConfig, platform: Platform, manifest: DatasetManifest) -> Job:
    """The job, named after the run id or after what it is. Raises LlmopsError for what a job cannot reach."""
    for key, uri in {"dataset": config.dataset, "out": config.out, "checkpoint_uri": config.checkpoint_uri or "s3://"}.items():
        if urlsplit(uri).scheme != "s3":
            raise LlmopsError(f"{key} {uri}: a training job does not see this machine's disk; copy it to s3:// and give that")
    if config.model is not None and Path(config.model).exists():
        raise LlmopsError(f"model {config.model}: a training job does not see this machine's disk; copy it to s3:// and give that")
    if config.feed.input_mode not in ("auto", "stream", "copy"):
        raise LlmopsError(f"feed.input_mode {config.feed.input_mode}: how a job gets its data is said by launch.sagemaker.channel")
    digest = job_digest(config, launch, manifest)
    name = launch.run_id or f"{re.sub('[^a-zA-Z0-9]+', '-', config.name).strip('-')[:50]}-{digest[:12]}"
    if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name):
        raise LlmopsError(f"launch.run_id {name!r}: a job's name has at most 63 letters, digits and hyphens; choose another")
    return Job(name, config, launch, platform, manifest)


def job_digest(config: TrainConfig, launch: LaunchConfig, manifest: DatasetManifest) -> str:
    """Digest of everything that makes it this job: not of how it is followed, or of where this machine keeps its files."""
    settings = launch.model_dump(mode="json")
    own = settings["sagemaker"]
    own["wheels"] = [Path(wheel).name for wheel in own["wheels"]]
    for name in ("platform", "wait", "poll_s"):
        del own[name]
    everything = [config.model_dump(mode="json", exclude={"launch"}), settings, manifest.to_json().decode()]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def request_of(job: Job, session: Any) -> dict[str, Any]:
    """The request. In script mode it puts the code into S3, unless the session only rehearses."""
    from sagemaker.core.training import configs  # type: ignore[import-untyped]
    from sagemaker.train import ModelTrainer  # type: ignore[import-untyped]

    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")  # the SDK would ask IAM, which the role of CI may not; SageMaker checks it
    platform, settings = job.platform, job.settings
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ModelTrainer(
            sagemaker_session=session,
            training_image=settings.image or f"{role_value(platform.repository_urls, 'repository_urls')}:latest",
            role=role_value(platform.role_arns, "role_arns"),
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
            tags=[
                {"key": key, "value": value}
                for key, value in {"Environment": platform.environment, "Run": job.config.name, **settings.tags}.items()
            ],
        )
        # what ModelTrainer.train() sends, but with our name for the job: its own has a time in it, so every submit would be another job
        request: dict[str, Any] = trainer._create_training_job_args(input_data_config=channels(job), boto3=True)
        if trainer._temp_code_dir is not None:
            trainer._temp_code_dir.cleanup()
    return {"TrainingJobName": job.name, **{key: value for key, value in request.items() if key != "TrainingJobName" and value is not None}}


def tags(job: Job) -> dict[str, str]:
    """What the job is found and billed by."""
    return {"Environment": job.platform.environment, "Run": job.config.name, **job.settings.tags}


def role_value(values: Mapping[str, str], field: str) -> str:
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


def shards_size(job: Job) -> tuple[int, int]:
    """Bytes and tokens of the train split."""
    shards = find_shards(job.config.dataset, job.manifest, "train", job.config.feed)
    return sum(shard.size_bytes for shard in shards), sum(shard.num_tokens for shard in shards)


def copied_gb(job: Job) -> int:
    """Room for a copy of the data where there may be one."""
    copied = channel_kind(job) == "file" or job.config.feed.input_mode == "copy"
    return math.ceil(shards_size(job)[0] / 1e9) if copied else 0


def channel_kind(job: Job) -> str:
    """How the dataset comes: by the config, or by what suits it."""
    if job.settings.channel == "fsx" and job.platform.file_system is None:
        raise LlmopsError("launch.sagemaker.channel fsx: the platform has no file system; choose file, fastfile or none")
    if job.settings.channel != "auto":
        return job.settings.channel
    if job.config.feed.input_mode != "auto":
        return "none"  # the job's own stream or copy was asked for
    if job.platform.file_system is not None:
        return "fsx"
    size, num_tokens = shards_size(job)
    epochs = job.config.num_epochs or (job.config.max_tokens or 0) / max(1, num_tokens) or 1.0
    plan = plan_s3(size, num_tokens, epochs, 10**12, "the job's disk", job.config.feed.tokens_per_second, "")
    return "file" if plan.mode == "copy" else "none"


def channels(job: Job) -> list[Any]:
    """The input channels. A channel's own mode is given, for without it the SDK writes `File` over FastFile."""
    from sagemaker.core.shapes import Channel, DataSource, S3DataSource

    kind, folder = channel_kind(job), folder_of(document_uri(job.config.dataset, DatasetManifest))
    if kind == "none":
        return []
    if kind == "fsx":
        return [Channel(channel_name=CHANNEL, input_mode="File", data_source=DataSource(file_system_data_source=file_system(job, folder)))]
    reading = [group.name for group in job.settings.instance_groups if group.feeds] or [
        group.name for group in job.settings.instance_groups
    ]
    groups = {"instance_group_names": reading} if reading else {}
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"{folder}/", s3_data_distribution_type="FullyReplicated", **groups)
    mode = "FastFile" if kind == "fastfile" else "File"
    return [Channel(channel_name=CHANNEL, input_mode=mode, data_source=DataSource(s3_data_source=source))]


def file_system(job: Job, folder: str) -> Any:
    """The dataset's folder on FSx for Lustre, which shows the datasets' prefix of S3."""
    from sagemaker.core.shapes import FileSystemDataSource

    system = job.platform.file_system
    assert system is not None
    root = job.platform.datasets_uri.rstrip("/")
    if not folder.startswith(f"{root}/"):
        raise LlmopsError(f"dataset {folder}: the file system shows {root} only; put it below, or set launch.sagemaker.channel")
    path = "/".join(["", system.mount_name.strip("/"), system.datasets_path.strip("/"), folder.removeprefix(f"{root}/")])
    return FileSystemDataSource(file_system_id=system.id, file_system_access_mode="ro", file_system_type="FSxLustre", directory_path=path)


def checkpoints(job: Job) -> str:
    """Where the run's checkpoints are; the same for a job that goes on after another, whatever its name."""
    from llmops_train.run import identity

    if job.config.checkpoint_uri:
        return job.config.checkpoint_uri
    settings = identity(job.config).model_dump_json(exclude={"tracking"})
    digest = hashlib.sha256(settings.encode() + job.manifest.to_json()).hexdigest()[:16]
    return join(job.platform.checkpoints_uri, f"{re.sub('[^a-zA-Z0-9]+', '-', job.config.name)}-{digest}")


def environment(job: Job) -> dict[str, str]:
    """The container's variables."""
    own = {"AWS_DEFAULT_REGION": job.platform.region, "MLFLOW_TRACKING_URI": job.config.tracking.uri or job.platform.tracking_uri}
    own["MLFLOW_EXPERIMENT_NAME"] = job.config.tracking.experiment
    if job.num_training > 1:
        own |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET"}  # what `doctor` reads: which network NCCL really took
    return own | job.settings.environment


def hyperparameters(job: Job) -> dict[str, str]:
    """The run's settings and what the container has to know, as `key.sub: JSON`. Raises LlmopsError when SageMaker would not take them."""
    config = job.config
    if job.num_training > 1 and config.checkpoint_uri is None:  # each host's /opt/ml/checkpoints is its own
        config = config.model_copy(update={"checkpoint_uri": checkpoints(job)})
    tree = config.model_dump(mode="json", exclude_defaults=True, exclude={"launch", "tracking"})
    required = job.settings.require_efa if job.settings.require_efa is not None else job.platform.training.efa and job.num_training > 1
    container = InContainer(
        run_id=job.name,
        processes=job.launch.processes,
        max_restarts=job.launch.max_restarts,
        feeding_groups=[group.name for group in job.settings.instance_groups if group.feeds],
        require_efa=required,
        channel=None if channel_kind(job) == "none" else CHANNEL,
    )
    flat = dict(leaves({**tree, "container": container.model_dump(mode="json", exclude_defaults=True)}))
    long = [key for key, value in flat.items() if len(value) > MAX_VALUE]
    if len(flat) > MAX_HYPERPARAMETERS or long:
        raise LlmopsError(
            f"SageMaker takes {MAX_HYPERPARAMETERS} settings of {MAX_VALUE} characters; there are {len(flat)}"
            f"{f', and {long[0]} is longer' if long else ''}; leave out what is at its default"
        )
    return flat


def leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """`{"a": {"b": 1}}` as `[("a.b", "1")]`."""
    found = []
    for key, value in tree.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", json.dumps(value))]
    return found


def distributed(job: Job) -> Any:
    """AWS's own driver for what it starts; torchrun and SMDDP processes are started by our entry point."""
    from sagemaker.train.distributed import MPI, SMP, Torchrun  # type: ignore[import-untyped]

    match job.settings.distribution:
        case "mpi":
            return MPI(process_count_per_node=job.launch.processes, mpi_additional_options=job.settings.mpi_options or None)
        case "smp":
            smp = job.config.parallel.smp
            if smp is None:
                raise LlmopsError("launch.sagemaker.distribution smp needs parallel.engine=smp with parallel.smp")
            return Torchrun(
                process_count_per_node=job.launch.processes,
                smp=SMP(
                    hybrid_shard_degree=smp.hybrid_shard_degree or None,
                    sm_activation_offloading=smp.activation_offloading or None,
                ),
            )
        case _:
            if job.settings.distribution == "smddp" and job.config.parallel.backend != "smddp":
                raise LlmopsError("launch.sagemaker.distribution smddp needs parallel.backend=smddp, or the processes would talk by NCCL")
            return None


def source_code(job: Job, folder: Path) -> Any:
    """Script mode: the wheels, and a script that starts what the image would have started."""
    from sagemaker.core.training import configs

    if not job.settings.wheels:
        return None
    for wheel in job.settings.wheels:
        if not Path(wheel).is_file():
            raise LlmopsError(f"launch.sagemaker.wheels: {wheel} is no file; build the wheels of shared/ and services/train/ first")
        shutil.copyfile(wheel, folder / Path(wheel).name)
    (folder / "start.py").write_text(START)
    (folder / "requirements.txt").write_text("".join(f"./{Path(wheel).name}\n" for wheel in job.settings.wheels))
    return configs.SourceCode(source_dir=str(folder), requirements="requirements.txt", entry_script="start.py", ignore_patterns=[])
