"""Datasets of token shards whose content tells where each row came from; no tokenizer, no torch."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import save

from llmops_shared.contracts import DatasetManifest
from llmops_shared.contracts.dataset import Shard, Split, Tokenizer
from llmops_shared.documents import store_part, write_document
from llmops_train.feed.sequences import Packed, Sequences

VOCAB = 60_000


def table_of(first: int, count: int, length: int, view: str) -> dict[str, np.ndarray]:
    """Rows numbered from `first`: the number is in the first two tokens, the rest is noise of it."""
    noise = np.random.default_rng(first).integers(0, VOCAB, (count, length)).astype(np.uint16)
    numbers = np.arange(first, first + count)
    noise[:, 0], noise[:, 1] = numbers // 1000, numbers % 1000
    table = {"input_ids": noise, "document_ids": np.ones((count, length), np.uint16)}
    return table if view == "text" else {**table, "loss_mask": (noise % 2).astype(np.uint8)}


def numbers_of(taken: Packed) -> list[int]:
    """The numbers of rows, from their first two tokens."""
    return (taken.input_ids[:, 0].astype(int) * 1000 + taken.input_ids[:, 1]).tolist()


def everything(sequences: Sequences) -> str:
    """Digest over all rows in order."""
    taken = sequences.take(np.arange(len(sequences)))
    arrays = [taken.input_ids, taken.document_ids, *([] if taken.loss_mask is None else [taken.loss_mask])]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def tar_of(table: dict[str, np.ndarray]) -> bytes:
    """A WebDataset tar file with a NumPy file for each tensor of a row."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row in range(len(table["input_ids"])):
            for name, values in table.items():
                member = io.BytesIO()
                np.save(member, values[row])
                entry = tarfile.TarInfo(f"{row:09d}.{name}.npy")
                entry.size = member.tell()
                member.seek(0)
                tar.addfile(entry, member)
    return content.getvalue()


def write_shards(
    uri: str, rows: Sequence[int], length: int = 16, view: Literal["text", "chat"] = "chat", webdataset: bool = False
) -> tuple[str, DatasetManifest]:
    """Writes a train split with so many rows in each shard, and a validation split of 5; returns the manifest's place and content."""
    splits = {}
    for split, counts in {"train": rows, "validation": [5]}.items():
        shards, first = [], 0
        for number, count in enumerate(counts):
            table = table_of(first, count, length, view)
            contents = {"safetensors": save(table)} | ({"tar": tar_of(table)} if webdataset else {})
            for kind, content in contents.items():
                part = store_part(uri, f"shards/{split}-{number:05d}.{kind}", content)
                shards.append(Shard(**part.model_dump(), num_sequences=count, num_tokens=count * length))
            first += count
        splits[split] = Split(num_rows=first, num_tokens=first * length, rows=[], shards=shards)
    manifest = DatasetManifest(
        name="numbered",
        view=view,
        sources=[],
        counts=[],
        sequence_length=length,
        tokenizer=Tokenizer(files=[], vocab_size=VOCAB),
        splits=splits,
        dead_letter=None,
    )
    write_document(uri, manifest)
    return f"{uri}/dataset.json", manifest


def shard_paths(place: str, kind: str = "safetensors") -> list[Path]:
    """The files of the train split."""
    return sorted((Path(place).parent / "shards").glob(f"train-*.{kind}"))
