"""Packed token shards as training batches: positions, an attention mask that keeps documents apart, and labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch  # noqa: TID253 - this module is imported late
from numpy.typing import NDArray

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError

IGNORED = -100  # cross_entropy's own word for "no target here"


@dataclass(frozen=True)
class Packed:
    """One split as arrays of shape [num_sequences, sequence_length]."""

    input_ids: NDArray[np.unsignedinteger]
    """Token ids."""
    document_ids: NDArray[np.unsignedinteger]
    """0 is padding; the documents of a sequence count from 1."""
    loss_mask: NDArray[np.unsignedinteger] | None
    """1 where the token belongs to an answer; None where every token is learnt."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int(np.count_nonzero(self.document_ids))


class Batch(NamedTuple):
    """What the model takes, all of shape [rows, length] but the mask."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    """Count from 0 in each document."""
    attention_mask: torch.Tensor
    """[rows, 1, length, length]; True where a token may look: at itself and before it, in its own document."""
    labels: torch.Tensor
    """The next token, or IGNORED where it is padding, of another document, or no part of an answer."""
    num_tokens: int
    """Tokens that are not padding."""


def read_split(uri: str, manifest: DatasetManifest, split: str) -> Packed:
    """The shards of a split, each checked against its digest. Raises LlmopsError when it is missing, empty or does not fit the manifest."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if split not in manifest.splits:
        raise LlmopsError(f"{uri}: split {split!r} is missing (has {', '.join(sorted(manifest.splits))}); rerun preprocess with it")
    shards = manifest.splits[split].shards
    if not any(shard.num_sequences for shard in shards):
        raise LlmopsError(f"{uri}: split {split!r} has no shards; rerun preprocess with more text or a larger share for it")
    try:
        tables = [load_file(fetch_part(uri, shard)) for shard in shards]
    except SafetensorError as error:
        raise LlmopsError(f"{uri}: a shard of split {split!r} is no safetensors file ({error}); rerun preprocess") from error
    wanted = {"input_ids", "document_ids"} | ({"loss_mask"} if manifest.view == "chat" else set())
    for shard, table in zip(shards, tables, strict=True):
        check_shard(f"{uri}: {shard.path}", table, wanted, manifest)
    joined = {name: np.concatenate([table[name] for table in tables]) for name in wanted}
    return Packed(joined["input_ids"], joined["document_ids"], joined.get("loss_mask"))


def check_shard(where: str, table: dict[str, NDArray[np.unsignedinteger]], wanted: set[str], manifest: DatasetManifest) -> None:
    """Raises LlmopsError when a shard is not what its manifest says."""
    if not wanted <= set(table):
        raise LlmopsError(f"{where}: lacks {', '.join(sorted(wanted - set(table)))}, which a {manifest.view} dataset has; rerun preprocess")
    for name in wanted:
        if table[name].ndim != 2 or table[name].shape[1] != manifest.sequence_length:
            shape = table[name].shape
            raise LlmopsError(f"{where}: {name} has shape {shape}, expected rows of {manifest.sequence_length}; rerun preprocess")
    highest = int(table["input_ids"].max(initial=0))
    if highest >= manifest.tokenizer.vocab_size:
        raise LlmopsError(f"{where}: holds token {highest}, but the tokenizer has {manifest.tokenizer.vocab_size}; rerun preprocess")


def make_batch(packed: Packed, rows: NDArray[np.int64]) -> Batch:
    """The sequences of these row numbers."""
    documents = packed.document_ids[rows].astype(np.int64)
    ids = packed.input_ids[rows].astype(np.int64)
    places = np.arange(ids.shape[1])
    starts = np.zeros_like(documents, dtype=bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    positions = places - np.maximum.accumulate(np.where(starts, places, 0), axis=1)

    labels = np.full_like(ids, IGNORED)
    learnt = ~starts[:, 1:] & (documents[:, 1:] > 0)
    if packed.loss_mask is not None:
        learnt &= packed.loss_mask[rows][:, 1:] > 0
    labels[:, :-1] = np.where(learnt, ids[:, 1:], IGNORED)

    mask = (documents[:, :, None] == documents[:, None, :]) & (places[:, None] >= places[None, :])
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(mask[:, None]),
        torch.from_numpy(labels),
        int(np.count_nonzero(documents)),
    )


class Order:
    """The rows of each step, a function of seed and step alone: epoch after epoch, each in its own shuffled order."""

    def __init__(self, num_rows: int, batch_rows: int, seed: int) -> None:
        self.num_rows = num_rows
        self.batch_rows = batch_rows
        self.seed = seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def rows(self, step: int) -> NDArray[np.int64]:
        """Row numbers of a step, the first being 0."""
        places = np.arange(step * self.batch_rows, (step + 1) * self.batch_rows)
        epochs, offsets = places // self.num_rows, places % self.num_rows
        needed = map(int, np.unique(epochs))
        self._epochs = {epoch: self._epochs[epoch] if epoch in self._epochs else self.shuffle(epoch) for epoch in needed}
        return np.array([self._epochs[int(epoch)][offset] for epoch, offset in zip(epochs, offsets, strict=True)])

    def shuffle(self, epoch: int) -> NDArray[np.int64]:
        """The order of one epoch."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.num_rows)


def in_order(packed: Packed, batch_rows: int) -> Iterator[Batch]:
    """All sequences once, for validation."""
    for start in range(0, len(packed), batch_rows):
        yield make_batch(packed, np.arange(start, min(start + batch_rows, len(packed))))
