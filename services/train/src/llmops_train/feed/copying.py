"""Copies shards to a local disk once a host, however many processes it runs, each checked against its digest on the way."""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.contracts.dataset import Shard
from llmops_shared.errors import LlmopsError
from llmops_train.feed_config import FeedConfig

logger = logging.getLogger(__name__)

PIECE = 16 * 2**20


def copy_shards(names: list[str], shards: list[Shard], config: FeedConfig) -> list[str]:
    """Local paths of the shards. Raises LlmopsError when the disk is too small, or what was read is not what the manifest says."""
    folder = copy_folder(config)
    targets = [folder / f"{shard.sha256[:32]}{Path(shard.path).suffix}" for shard in shards]
    missing = sum(shard.size_bytes for shard, target in zip(shards, targets, strict=True) if not target.exists())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise LlmopsError(
            f"{folder}: has {free / 1e9:.1f} GB free, but {missing / 1e9:.1f} GB of shards are to be copied; "
            f"give feed.copy_dir a larger disk, or feed.input_mode=stream"
        )
    began = time.monotonic()
    with ThreadPoolExecutor(config.workers) as pool:
        copied = sum(pool.map(copy_shard, names, shards, targets, repeat(config)))
    if copied:
        logger.info("copied %.1f MB to %s in %.1f s", copied / 1e6, folder, time.monotonic() - began)
    return [str(target) for target in targets]


def copy_folder(config: FeedConfig) -> Path:
    """Where copies lie, made when it is missing."""
    folder = Path(config.copy_dir or Path(tempfile.gettempdir()) / f"llmops-feed-{os.getuid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LlmopsError(f"feed.copy_dir {folder}: cannot be made ({error.strerror or error}); name another folder") from error
    return folder


def copy_shard(name: str, shard: Shard, target: Path, config: FeedConfig) -> int:
    """Copies one shard unless it is there; the number of bytes copied. A lock keeps the host's other processes waiting for it."""
    partial = target.with_suffix(".partial")
    try:
        with open(target.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists() and target.stat().st_size == shard.size_bytes:
                return 0
            digest = hashlib.sha256()
            with partial.open("wb") as file:
                for piece in pieces(name, shard, config):
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != shard.sha256:
                partial.unlink()
                raise LlmopsError(f"{name}: is damaged: its sha256 differs from the manifest's; delete its folder and run the stage again")
            partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise LlmopsError(f"{target}: cannot be written ({error.strerror or error}); free the space or name another copy_dir") from error
    return shard.size_bytes


def pieces(name: str, shard: Shard, config: FeedConfig) -> Iterator[memoryview]:
    """The bytes of a shard in order."""
    from llmops_train.feed.ranges import FileRanges, Ranges

    ranges: Ranges
    if urlsplit(name).scheme == "s3":
        from llmops_train.feed.s3 import S3Ranges

        ranges = S3Ranges([name], [shard.size_bytes], 1, config.timeout_s)
    else:
        ranges = FileRanges([name], [shard.size_bytes], 1)
    for start in range(0, shard.size_bytes, PIECE):
        yield ranges.read(0, start, start + PIECE).data
    ranges.finished(0)
