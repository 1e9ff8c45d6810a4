"""Token shards: packed sequences as safetensors files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from llmops_preprocess.pack import cut, pack, places
from llmops_preprocess.tokenize import Tokens
from llmops_shared.contracts.dataset import Shard
from llmops_shared.documents import store_part
from llmops_shared.errors import LlmopsError

# 160 MB with five bytes a token: between 100 MB and 1 GB a shard, S3 and SageMaker's FastFile mode read at full speed
TOKENS_PER_SHARD = 2**25

Tensors = dict[str, NDArray[np.generic]]


def write_shards(out: str, split: str, tensors: Tensors, scratch: Path) -> list[Shard]:
    """Writes the sequences of a split as `shards/<split>-00000-of-00001.safetensors` and so on."""
    num_sequences, length = tensors["input_ids"].shape
    step = max(1, TOKENS_PER_SHARD // length)
    starts = range(0, num_sequences, step)
    shards = []
    for number, start in enumerate(starts):
        part = {name: np.ascontiguousarray(tensor[start : start + step]) for name, tensor in tensors.items()}
        # S3 lists in key order, so the numbers are padded
        name = f"{split}-{number:05d}-of-{len(starts):05d}.safetensors"
        try:
            save_file(part, scratch / name)
        except (OSError, SafetensorError) as error:
            raise LlmopsError(f"{scratch / name}: cannot be written ({error}); free the space, or set TMPDIR to a larger disk") from error
        stored = store_part(out, f"shards/{name}", scratch / name)
        used = int(np.count_nonzero(part["document_ids"]))
        shards.append(Shard(**stored.model_dump(), num_sequences=len(part["input_ids"]), num_tokens=used))
    return shards


def pack_tokens(tokens: Tokens, sequence_length: int, vocab_size: int, pad_id: int, seed: int) -> Tensors:
    """The tensors of a split, shape [sequences, sequence_length], in an order the seed decides, so that any prefix is a fair sample."""
    starts, lengths = cut(tokens.lengths.tolist(), sequence_length)
    sequences = pack(lengths, sequence_length)
    np.random.default_rng(seed).shuffle(sequences)
    position, target, number = places(sequences, lengths, sequence_length)
    sizes = lengths[position]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    to, of = np.repeat(target, sizes) + within, np.repeat(starts[position], sizes) + within
    shape = (len(sequences), sequence_length)
    # uint16 halves the bytes of every vocabulary below 65,536
    ids = np.full(shape, pad_id, dtype=np.uint16 if vocab_size <= 2**16 else np.uint32)
    documents = np.zeros(shape, dtype=np.uint16)
    ids.reshape(-1)[to] = tokens.ids[of]
    documents.reshape(-1)[to] = np.repeat(number, sizes)
    tensors: Tensors = {"input_ids": ids, "document_ids": documents}
    if tokens.answers is not None:
        mask = np.zeros(shape, dtype=np.uint8)
        mask.reshape(-1)[to] = tokens.answers[of]
        tensors["loss_mask"] = mask
    return tensors
