"""Which input mode suits a dataset: from where it lies, its bytes, objects and epochs, the disk, and the rate of training."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.contracts.dataset import Shard
from llmops_train.feed_config import FeedConfig, InputMode

COPY_BYTES_A_SECOND = 1e9
"""What a training host is counted on to download at: a tenth of the 100 Gbit/s that EFA types share with S3, a disk's writing included."""

COPY_SHARE = 0.05
"""A copy may take this share of the training it precedes, for the GPUs wait meanwhile."""

DISK_SHARE = 0.8
"""Of the free disk that a copy may take."""


@dataclass(frozen=True)
class Plan:
    """The mode and why."""

    mode: InputMode
    reason: str


def plan_input(place: str, shards: list[Shard], config: FeedConfig, num_epochs: float) -> Plan:
    """The mode of the config; for `auto` the one that fits. `place` is the folder of the shards."""
    if config.input_mode != "auto":
        return Plan(config.input_mode, "as the config says")
    size = sum(shard.size_bytes for shard in shards)
    facts = f"{in_words(size)} in {len(shards)} objects, {num_epochs:.3g} epochs"
    if not urlsplit(place).scheme:
        return plan_local(place, facts)
    from llmops_train.feed.copying import copy_folder

    folder = copy_folder(config)
    free = shutil.disk_usage(folder).free
    return plan_s3(size, sum(shard.num_tokens for shard in shards), num_epochs, free, str(folder), config.tokens_per_second, facts)


def plan_local(folder: str, facts: str) -> Plan:
    """By the kind of file system that holds the dataset."""
    kind = file_system(folder)
    if kind == "lustre":
        return Plan("fsx", f"{facts}, on Lustre: read by blocks ahead, which its servers stripe")
    if kind.startswith("fuse"):
        return Plan("fastfile", f"{facts}, on a {kind} mount: few files read forward, for each random read would be a request")
    return Plan("file", f"{facts}, on a local disk ({kind}): mapped into memory")


def plan_s3(size: int, num_tokens: int, num_epochs: float, free: int, folder: str, rate: float | None, facts: str) -> Plan:
    """A copy where it fits the disk, is read more than once and is short beside the training; else a stream."""
    copy_s = size / COPY_BYTES_A_SECOND
    if size > DISK_SHARE * free:
        return Plan("stream", f"{facts}: more than {DISK_SHARE:.0%} of the {in_words(free)} free in {folder}")
    if num_epochs <= 1:
        return Plan("stream", f"{facts}: read once, so a copy of {copy_s:.3g} s would save no request")
    if rate is None:
        return Plan(
            "copy", f"{facts}: read {num_epochs:.3g} times and fits {folder}; feed.tokens_per_second would weigh its {copy_s:.3g} s"
        )
    train_s = num_tokens * num_epochs / rate
    if copy_s > COPY_SHARE * train_s:
        return Plan("stream", f"{facts}: a copy takes {copy_s:.3g} s, over {COPY_SHARE:.0%} of the {train_s:.3g} s at {rate:.3g} tokens/s")
    return Plan("copy", f"{facts}: read {num_epochs:.3g} times, fits {folder}, {copy_s:.3g} s of {train_s:.3g} s at {rate:.3g} tokens/s")


def in_words(size: float) -> str:
    """A size with its unit."""
    unit, factor = next((unit, factor) for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 0)) if size >= factor)
    return f"{size / (factor or 1e3):.3g} {unit}"


def file_system(folder: str) -> str:
    """Kind of the file system of a folder, as /proc/mounts names it; `unknown` where there is no such list."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    place, best, kind = os.path.realpath(folder), "", "unknown"
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind
