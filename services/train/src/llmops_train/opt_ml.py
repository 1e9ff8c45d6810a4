"""What SageMaker tells a container, in /opt/ml/input/config.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_shared.command import platform_defaults
from llmops_shared.config import load_config, merge
from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig
from llmops_train.container_config import InContainer
from llmops_train.feed_config import FeedConfig

PREFIX = "container."

THEIRS = ("sagemaker_", "mp_parameters")
"""Hyperparameters that SageMaker's own libraries add."""


@dataclass(frozen=True)
class Cluster:
    """The hosts of a training job."""

    current_host: str
    """Name of this one."""
    group: str | None
    """Its instance group; None in a cluster of one kind."""
    hosts: list[str]
    """Hosts that train or feed with this one, itself included, in order."""
    groups: dict[str, list[str]]
    """Hosts by instance group."""
    interface: str
    """Network interface they reach each other by."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run, as hyperparameters say them."""

    train: TrainConfig
    container: InContainer


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises LlmopsError when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LlmopsError(f"{path}: cannot be read ({error}); is this a SageMaker training container?") from error
    if not isinstance(content, dict):
        raise LlmopsError(f"{path}: holds no JSON object")
    return content


def read_cluster(root: Path) -> Cluster:
    """The hosts, from resourceconfig.json."""
    path = root / "input" / "config" / "resourceconfig.json"
    content = read_json(path)
    try:
        groups = {group["instance_group_name"]: sorted(group["hosts"]) for group in content.get("instance_groups") or []}
        group = content.get("current_group_name")
        hosts = groups[group] if group in groups else sorted(content["hosts"])
        cluster = Cluster(content["current_host"], group, hosts, groups, content.get("network_interface_name", "eth0"))
    except (KeyError, TypeError) as error:
        raise LlmopsError(f"{path}: lacks {error}; is this a SageMaker training container?") from error
    if cluster.current_host not in cluster.hosts:
        raise LlmopsError(f"{path}: current_host {cluster.current_host} is none of its hosts ({', '.join(cluster.hosts)})")
    return cluster


def read_settings(root: Path) -> Settings:
    """The run, from hyperparameters.json. Raises LlmopsError that names every bad field."""
    given = read_json(root / "input" / "config" / "hyperparameters.json")
    own = [f"{key.removeprefix(PREFIX)}={value}" for key, value in given.items() if key.startswith(PREFIX)]
    words = [f"{key}={value}" for key, value in given.items() if not key.startswith((PREFIX, *THEIRS))]
    container = load_config(InContainer, None, own)
    defaults = {} if "out" in given else {"out": str(root / "model")}
    train = load_config(TrainConfig, None, words, merge(platform_defaults(TrainConfig), defaults))
    return Settings(train, container)


def read_feed(root: Path, settings: Settings) -> FeedConfig:
    """How this host reads the data: by the channel of inputdataconfig.json, where the job has one."""
    feed, channel = settings.train.feed, settings.container.channel
    if channel is None:
        return feed
    path = root / "input" / "config" / "inputdataconfig.json"
    channels = read_json(path)
    if channel not in channels:
        raise LlmopsError(f"{path}: has no channel {channel!r} (has {', '.join(sorted(channels)) or 'none'}); submit the job with it")
    mode = {"input_mode": "fastfile"} if channels[channel].get("TrainingInputMode") == "FastFile" else {}
    folder = {"mirror": str(root / "input" / "data" / channel)}
    return FeedConfig.model_validate(merge(feed.model_dump(), {**folder, **mode}))
