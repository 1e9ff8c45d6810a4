"""Packed token shards as training batches: positions, an attention mask that keeps documents apart, and labels."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch  # noqa: TID253 - this module is imported late
from numpy.typing import NDArray

from llmops_shared.contracts import DatasetManifest
from llmops_train.config import TrainConfig
from llmops_train.feed.open import find_shards, open_split
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Packed, Sequences
from llmops_train.feed_config import FeedConfig

__all__ = ["IGNORED", "Batch", "Order", "Packed", "Sequences", "in_order", "make_batch", "open_splits", "read_split"]

IGNORED = -100  # cross_entropy's own word for "no target here"


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


def read_split(uri: str, manifest: DatasetManifest, split: str, config: FeedConfig | None = None, num_epochs: float = 1.0) -> Sequences:
    """The sequences of a split. Raises LlmopsError when it is missing, empty or does not fit the manifest."""
    return open_split(uri, manifest, split, config or FeedConfig(), num_epochs)


def open_splits(config: TrainConfig, uri: str, manifest: DatasetManifest) -> tuple[Sequences, Sequences]:
    """The train and validation splits. Raises LlmopsError when one is missing, empty or does not fit the manifest."""
    epochs = config.num_epochs or 1.0
    if config.num_epochs is None:
        shards = find_shards(uri, manifest, "train", config.feed)
        num_rows, num_tokens = sum(shard.num_sequences for shard in shards), sum(shard.num_tokens for shard in shards)
        epochs = (config.max_steps or 0) * config.batch_sequences / num_rows or (config.max_tokens or 0) / max(1, num_tokens)
    return read_split(uri, manifest, "train", config.feed, epochs), read_split(uri, manifest, "validation", config.feed)


def make_batch(packed: Sequences, rows: NDArray[np.int64]) -> Batch:
    """The sequences of these row numbers."""
    taken = packed.take(rows)
    documents = taken.document_ids.astype(np.int64)
    ids = taken.input_ids.astype(np.int64)
    places = np.arange(ids.shape[1])
    starts = np.zeros_like(documents, dtype=bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    positions = places - np.maximum.accumulate(np.where(starts, places, 0), axis=1)

    labels = np.full_like(ids, IGNORED)
    learnt = ~starts[:, 1:] & (documents[:, 1:] > 0)
    if taken.loss_mask is not None:
        learnt &= taken.loss_mask[:, 1:] > 0
    labels[:, :-1] = np.where(learnt, ids[:, 1:], IGNORED)

    mask = (documents[:, :, None] == documents[:, None, :]) & (places[:, None] >= places[None, :])
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(mask[:, None]),
        torch.from_numpy(labels),
        int(np.count_nonzero(documents)),
    )


def in_order(packed: Sequences, batch_rows: int) -> Iterator[Batch]:
    """All sequences once, for validation."""
    for start in range(0, len(packed), batch_rows):
        yield make_batch(packed, np.arange(start, min(start + batch_rows, len(packed))))
