"""Token shards: documents packed into sequences, as safetensors files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from llmops_preprocess.pack import cut, pack, places
from llmops_preprocess.tokenize import Tokens
from llmops_shared.errors import LlmopsError

Tensors = dict[str, NDArray[np.generic]]
TOKENS_AT_ONCE = 1 << 20
"""Tokens copied in one step: their places take sixteen times the room of the tokens."""


def write_safetensors(tensors: Tensors, path: Path) -> None:
    """Writes a shard. Raises LlmopsError when the disk is full."""
    try:
        save_file(tensors, path)
    except (OSError, SafetensorError) as error:
        raise LlmopsError(f"{path}: cannot be written ({error}); free the space, or choose another out=") from error


def pack_tokens(tokens: Tokens, sequence_length: int, vocab_size: int, pad_id: int, seed: int) -> Tensors:
    """The tensors of a split, shape [sequences, sequence_length], in an order the seed decides, so that any prefix is a fair sample."""
    starts, lengths = cut(tokens.lengths.tolist(), sequence_length)
    sequences = pack(lengths, sequence_length)
    np.random.default_rng(seed).shuffle(sequences)
    position, target, number = places(sequences, lengths, sequence_length)
    shape = (len(sequences), sequence_length)
    # uint16 halves the bytes of every vocabulary below 65,536
    ids = np.full(shape, pad_id, dtype=np.uint16 if vocab_size <= 2**16 else np.uint32)
    documents = np.zeros(shape, dtype=np.uint16)
    tensors: Tensors = {"input_ids": ids, "document_ids": documents}
    if tokens.answers is not None:
        tensors["loss_mask"] = np.zeros(shape, dtype=np.uint8)
    sizes, source = lengths[position], starts[position]
    edges = np.searchsorted(np.cumsum(sizes), np.arange(TOKENS_AT_ONCE, int(sizes.sum()) + TOKENS_AT_ONCE, TOKENS_AT_ONCE)).tolist()
    first = 0
    for last in [edge + 1 for edge in edges]:
        here = slice(first, last)
        within = np.arange(sizes[here].sum()) - np.repeat(np.cumsum(sizes[here]) - sizes[here], sizes[here])
        to, of = np.repeat(target[here], sizes[here]) + within, np.repeat(source[here], sizes[here]) + within
        ids.reshape(-1)[to] = tokens.ids[of]
        documents.reshape(-1)[to] = np.repeat(number[here], sizes[here])
        if tokens.answers is not None:
            tensors["loss_mask"].reshape(-1)[to] = tokens.answers[of]
        first = last
    return tensors
