"""How a training job gets its dataset: the channel, and the room a copy takes."""

import math
from typing import Any

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import document_uri
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of
from llmops_train.feed.open import find_shards
from llmops_train.feed.plan import plan_s3
from llmops_train.launchers.sagemaker_job import Job

CHANNEL = "dataset"


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
    from sagemaker.core.shapes import Channel, DataSource, S3DataSource  # type: ignore[import-untyped]

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


def shards_size(job: Job) -> tuple[int, int]:
    """Bytes and tokens of the train split."""
    shards = find_shards(job.config.dataset, job.manifest, "train", job.config.feed)
    return sum(shard.size_bytes for shard in shards), sum(shard.num_tokens for shard in shards)


def copied_gb(job: Job) -> int:
    """Room for a copy of the data where there may be one."""
    copied = channel_kind(job) == "file" or job.config.feed.input_mode == "copy"
    return math.ceil(shards_size(job)[0] / 1e9) if copied else 0
