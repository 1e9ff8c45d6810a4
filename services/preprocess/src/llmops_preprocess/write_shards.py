"""Shards of a split: which documents are in which, packed by the engine, stored by one process."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.encode_part import Encoded
from llmops_preprocess.engine import Engine
from llmops_preprocess.facts import read_array
from llmops_preprocess.pack_shard import Packed, ShardTask, pack_shard, shard_of
from llmops_preprocess.tokenizer import DatasetTokenizer
from llmops_shared.contracts.dataset import Shard
from llmops_shared.documents import store_part
from llmops_shared.store import join, store_for

SHARDS = TypeAdapter(list[Shard])
SUFFIXES = {"safetensors": ".safetensors", "webdataset": ".tar"}
GROUP_SHARDS = 64
"""Shards whose documents are mixed: every one of them reads all parts of its group, so reading grows with the group."""


def write_shards(
    folder: str, split: str, encoded: Sequence[Encoded], tokenizer: DatasetTokenizer, config: PreprocessConfig, engine: Engine, place: Path
) -> list[Shard]:
    """Writes the sequences of a split as `shards/<split>-00000-of-00001.safetensors` and so on; those an earlier run stored are kept."""
    tasks = plan_shards(folder, split, encoded, tokenizer, config, place)
    done = {task.name: found for task in tasks if (found := read_kept(folder, task.name)) is not None}
    left = [task for task in tasks if task.name not in done]
    for packed in engine.run(pack_shard, left):
        done[packed.name] = store_shard(folder, packed, tasks[0].suffixes, config.out, place)
    return [shard for form in range(len(tasks[0].suffixes)) for task in tasks for shard in [done[task.name][form]]]


def plan_shards(
    folder: str, split: str, encoded: Sequence[Encoded], tokenizer: DatasetTokenizer, config: PreprocessConfig, place: Path
) -> list[ShardTask]:
    """The shards, each of documents whose keys, which the seed decides, are in one stretch: fair samples of one size, give or take."""
    chosen = list[tuple[tuple[int, ...], int, int]]()
    for group in grouped([item for item in encoded if item.num_rows.get(split)], split, config):
        parts = tuple(sorted(item.number for item in group))
        of = max(1, -(-sum(item.num_tokens[split] for item in group) // config.shard_tokens))
        keys = np.concatenate([read_array(folder, part, f"{split}.keys") for part in parts])
        chosen += [(parts, int(number), of) for number in np.unique(shard_of(keys, of))]
    return [
        ShardTask(
            folder, split,
            # S3 lists in key order, so the numbers are padded
            f"{split}-{index:05d}-of-{len(chosen):05d}",
            parts, number, of, config.sequence_length, tokenizer.vocab_size, tokenizer.pad_id, config.seed,
            tuple(suffix for name, suffix in SUFFIXES.items() if name in config.formats), str(place),
        )
        for index, (parts, number, of) in enumerate(chosen)
    ]  # fmt: skip


def grouped(encoded: Sequence[Encoded], split: str, config: PreprocessConfig) -> Iterator[list[Encoded]]:
    """Parts whose documents are mixed; of more than one group each is a fair sample of the parts."""
    limit = GROUP_SHARDS * config.shard_tokens
    parts = list(encoded)
    if sum(item.num_tokens[split] for item in parts) > limit:
        np.random.default_rng(config.seed).shuffle(parts)
    group, size = list[Encoded](), 0
    for item in parts:
        if group and size + item.num_tokens[split] > limit:
            yield group
            group, size = [], 0
        group.append(item)
        size += item.num_tokens[split]
    yield group


def kept_uri(folder: str, name: str) -> str:
    """What is known of a stored shard, among the parts."""
    return join(folder, f"{name}.shard.json")


def read_kept(folder: str, name: str) -> list[Shard] | None:
    """The shard's forms, where an earlier run stored them."""
    uri = kept_uri(folder, name)
    store = store_for(uri)
    return SHARDS.validate_json(store.read(uri)) if store.entries(uri) else None


def store_shard(folder: str, packed: Packed, suffixes: Sequence[str], out: str, place: Path) -> list[Shard]:
    """Moves a packed shard to its place, then notes that it is there."""
    found = []
    for suffix in suffixes:
        part = store_part(out, f"shards/{packed.name}{suffix}", place / f"{packed.name}{suffix}")
        found.append(Shard(**part.model_dump(), num_sequences=packed.num_sequences, num_tokens=packed.num_tokens))
    uri = kept_uri(folder, packed.name)
    store_for(uri).write(uri, SHARDS.dump_json(found))
    return found
