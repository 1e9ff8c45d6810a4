"""Preference pairs of a chat dataset as packed sequences: documents 1 and 2 are a pair, the chosen conversation first, and so on."""

import bisect
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow
from llmops_train.conversations import Encoded, encode
from llmops_train.evaluation.progress import Progress
from llmops_train.feed.sequences import Packed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

BATCH = 1024


Pair = tuple[Encoded, Encoded]


def open_pairs(uri: str, manifest: DatasetManifest, split: str, tokenizer: "PreTrainedTokenizerBase") -> Packed:
    """The pairs of a split. Raises LlmopsError when it has none."""
    if split not in manifest.splits:
        raise LlmopsError(f"{uri}: split {split!r} is missing (has {', '.join(sorted(manifest.splits))}); rerun preprocess with it")
    progress = Progress("tokenized", manifest.splits[split].num_rows)
    pairs: list[Pair] = []
    lost = {"without a rejected answer": 0, "longer than a sequence": 0, "that the chat template rewrites": 0}
    for rows in in_batches(uri, manifest, split):
        both = [row for row in rows if row.rejected]
        lost["without a rejected answer"] += len(rows) - len(both)
        chosen, rejected = encode([row.messages for row in both], tokenizer), encode([row.rejected for row in both], tokenizer)
        for one, other in zip(chosen, rejected, strict=True):
            if one is None or other is None:
                lost["that the chat template rewrites"] += 1
            elif len(one.ids) + len(other.ids) > manifest.sequence_length:
                lost["longer than a sequence"] += 1
            else:
                pairs.append((one, other))
        progress.advance(len(rows))
    told = ", ".join(f"{number} {why}" for why, number in lost.items() if number)
    if not pairs:
        raise LlmopsError(
            f"{uri}: split {split!r} has no preference pairs ({told or 'no rows'}); method dpo learns from rows with `rejected`: "
            f"preprocess data with chosen and rejected answers, and a sequence_length that both fit into"
        )
    logger.info("%s: %d preference pairs%s", split, len(pairs), f"; left out: {told}" if told else "")
    return pack(pairs, manifest.sequence_length, int(tokenizer.pad_token_id), manifest.tokenizer.vocab_size)


def in_batches(uri: str, manifest: DatasetManifest, split: str) -> Iterator[list[ChatRow]]:
    """The rows of a split, a few at a time."""
    batch: list[ChatRow] = []
    for part in manifest.splits[split].rows:
        with Path(fetch_part(uri, part)).open("rb") as lines:
            for line in lines:
                batch.append(ChatRow.model_validate_json(line))
                if len(batch) == BATCH:
                    yield batch
                    batch = []
    if batch:
        yield batch


def pack(pairs: Sequence[Pair], length: int, pad: int, vocab_size: int) -> Packed:
    """Pairs into sequences, never cut: best fit, longest first."""
    rows = arrange([len(one.ids) + len(other.ids) for one, other in pairs], length)
    shape = (len(rows), length)
    ids = np.full(shape, pad, np.uint16 if vocab_size <= 2**16 else np.uint32)
    document_ids, loss_mask = np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)
    for row, members in enumerate(rows):
        place = 0
        for number, document in enumerate((document for member in members for document in pairs[member]), start=1):
            end = place + len(document.ids)
            ids[row, place:end], document_ids[row, place:end], loss_mask[row, end - document.num_answer : end] = document.ids, number, 1
            place = end
    return Packed(ids, document_ids, loss_mask)


def arrange(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Numbers of the pairs of each sequence."""
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # room left and row, in order
    for member in sorted(range(len(sizes)), key=lambda number: (-sizes[number], number)):
        place = bisect.bisect_left(rooms, (sizes[member], -1))
        room, row = rooms.pop(place) if place < len(rooms) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(member)
        bisect.insort(rooms, (room - sizes[member], row))
    return rows
