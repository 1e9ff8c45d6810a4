"""Opens a split of a dataset by the input mode of the config."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.contracts import DatasetManifest, Part
from llmops_shared.contracts.dataset import Shard
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of, join
from llmops_train.feed.copying import copy_shards
from llmops_train.feed.layout import Wanted
from llmops_train.feed.mapped import MappedSequences
from llmops_train.feed.plan import Plan, plan_input
from llmops_train.feed.ranges import FileRanges, Ranges
from llmops_train.feed.sequences import Arrangement, Sequences
from llmops_train.feed.streamed import StreamedSequences
from llmops_train.feed_config import FeedConfig

logger = logging.getLogger(__name__)


def open_split(uri: str, manifest: DatasetManifest, split: str, config: FeedConfig, num_epochs: float = 1.0) -> Sequences:
    """The sequences of a split. Raises LlmopsError when it is missing, empty, damaged, or cannot be read in that mode."""
    shards = find_shards(uri, manifest, split, config)
    arrangement = arrange_shards(shards, manifest, config)
    if config.input_mode == "remote":
        from llmops_train.feed.client import RemoteSequences

        return RemoteSequences(config, manifest, split, arrangement, sum(shard.num_tokens for shard in shards))
    if config.shards == "rows":
        from llmops_train.feed.tokenized import TokenizedRows

        return TokenizedRows(uri, manifest, split, arrangement, sum(shard.num_tokens for shard in shards))
    folder = config.mirror or folder_of(uri)
    plan = plan_input(folder, shards, config, num_epochs)
    logger.info("%s: input mode %s: %s", split, plan.mode, plan.reason)
    return open_planned(uri, folder, manifest, shards, arrangement, plan, config)


def open_planned(
    uri: str, folder: str, manifest: DatasetManifest, shards: list[Shard], arrangement: Arrangement, plan: Plan, config: FeedConfig
) -> Sequences:
    """The sequences in the mode of the plan."""
    names = [join(folder, shard.path) for shard in shards]
    wanted = [Wanted.of(manifest, shard.num_sequences) for shard in shards]
    num_tokens, vocab_size = sum(shard.num_tokens for shard in shards), manifest.tokenizer.vocab_size
    if plan.mode == "copy":
        names = copy_shards(names, shards, config)
    elif plan.mode != "stream":
        check_files(uri, names, shards, plan, config)
    if plan.mode in ("file", "copy"):
        return MappedSequences(names, wanted, arrangement, num_tokens, vocab_size)
    workers = 1 if plan.mode == "fastfile" else config.workers
    return StreamedSequences(names, ranges_of(names, shards, plan, config), wanted, arrangement, num_tokens, vocab_size, workers)


def ranges_of(names: list[str], shards: list[Shard], plan: Plan, config: FeedConfig) -> Ranges:
    """Where a streamed split's bytes come from."""
    sizes = [shard.size_bytes for shard in shards]
    if plan.mode == "stream":
        from llmops_train.feed.s3 import S3Ranges

        return S3Ranges(names, sizes, config.workers, config.timeout_s)
    return FileRanges(names, sizes, max_open=config.lanes * 4)  # three tensors, each read forward by a handle of its own, and the header


def find_shards(uri: str, manifest: DatasetManifest, split: str, config: FeedConfig) -> list[Shard]:
    """The shards of a split in the form the config asks for."""
    if split not in manifest.splits:
        raise LlmopsError(f"{uri}: split {split!r} is missing (has {', '.join(sorted(manifest.splits))}); rerun preprocess with it")
    if config.shards == "rows":
        return rows_as_shard(uri, manifest, split)
    tars = [shard for shard in manifest.splits[split].shards if shard.path.endswith(".tar")]
    others = [shard for shard in manifest.splits[split].shards if not shard.path.endswith(".tar")]
    shards, rest = (tars, others) if config.shards == "webdataset" else (others, tars)
    if rest and not shards:
        other = "safetensors" if config.shards == "webdataset" else "webdataset"
        raise LlmopsError(f"{uri}: split {split!r} has {other} shards only; set feed.shards={other}, or rerun preprocess with the others")
    if not any(shard.num_sequences for shard in shards):
        raise LlmopsError(f"{uri}: split {split!r} has no shards; rerun preprocess with more text or a larger share for it")
    return shards


def rows_as_shard(uri: str, manifest: DatasetManifest, split: str) -> list[Shard]:
    """All rows of a split as one shard, in the order of its files."""
    found = manifest.splits[split]
    if not found.num_rows or not found.rows:
        raise LlmopsError(f"{uri}: split {split!r} has no rows; rerun preprocess with more text or a larger share for it")
    size = sum(part.size_bytes for part in found.rows)
    first = found.rows[0]
    return [Shard(path=first.path, size_bytes=size, sha256=first.sha256, num_sequences=found.num_rows, num_tokens=found.num_tokens)]


def arrange_shards(shards: list[Shard], manifest: DatasetManifest, config: FeedConfig) -> Arrangement:
    """How rows are read and mixed, from the manifest and the config alone, so that it is the same in every mode."""
    bytes_a_token = 2 if manifest.tokenizer.vocab_size <= 2**16 else 4
    return Arrangement(
        tuple(shard.num_sequences for shard in shards),
        block_rows=max(1, config.range_bytes // (bytes_a_token * manifest.sequence_length)),
        window_rows=config.shuffle_sequences,
        lanes=config.lanes,
    )


def check_files(uri: str, paths: list[str], shards: list[Shard], plan: Plan, config: FeedConfig) -> None:
    """Raises LlmopsError for a missing or damaged file. Of the processes of a host the first checks digests, the others sizes."""
    digests = config.verify == "digests" or (config.verify is None and plan.mode == "file")
    whole = digests and os.environ.get("LOCAL_RANK", "0") == "0"
    with ThreadPoolExecutor(config.workers) as pool:
        list(pool.map(lambda pair: check_file(uri, pair[0], pair[1], whole), zip(paths, shards, strict=True)))


def check_file(uri: str, path: str, shard: Part, whole: bool) -> None:
    """Raises LlmopsError when a file is not the part described."""
    if urlsplit(path).scheme:
        raise LlmopsError(f"{path}: is no file; this input mode reads a disk or mount: give a local folder, or feed.input_mode=stream")
    place = Path(path)
    if not place.exists():
        raise LlmopsError(f"{path}: there is no such file or folder")
    if place.stat().st_size != shard.size_bytes or (whole and sha256(place) != shard.sha256):
        raise LlmopsError(f"{path}: is damaged: size or sha256 differ from {uri}; delete its folder and run the stage again")
