"""A training job that is to be: its name, its machines, and what it cannot reach."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.contracts import DatasetManifest, Platform
from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig
from llmops_train.launch_config import LaunchConfig
from llmops_train.sagemaker_config import SageMakerConfig


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
