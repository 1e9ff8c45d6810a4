"""What a worker does third: one shard, packed of the tokens that belong to it, in the forms that are asked for."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.facts import read_array
from llmops_preprocess.parts import part_uri, writing
from llmops_preprocess.shards import Tensors, pack_tokens, write_safetensors
from llmops_preprocess.tokenize import Tokens, answer_mask
from llmops_shared.store import store_for


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to pack."""

    folder: str
    """Where the parts are."""
    split: str
    """Its split."""
    name: str
    """Name of the shard, without a suffix."""
    parts: tuple[int, ...]
    """Parts its documents are in."""
    number: int
    """Which of the shards of these parts."""
    of: int
    """How many shards these parts make: a document is in the one that its key says."""
    sequence_length: int
    """Tokens in a sequence."""
    vocab_size: int
    """Token ids there are."""
    pad_id: int
    """Fills a sequence up."""
    seed: int
    """Decides the order of the sequences."""
    suffixes: tuple[str, ...]
    """Forms to write: `.safetensors`, `.tar`."""
    place: str
    """Local folder to write to."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A shard that lies in the local folder."""

    name: str
    """Its name."""
    num_sequences: int
    """Sequences in it."""
    num_tokens: int
    """Tokens in them, padding left out."""


def pack_shard(task: ShardTask) -> Packed:
    """Packs the shard and writes its files to the local folder."""
    tensors = pack_tokens(read_tokens(task), task.sequence_length, task.vocab_size, task.pad_id, task.seed)
    for suffix in task.suffixes:
        path = Path(task.place) / f"{task.name}{suffix}"
        if suffix == ".tar":
            write_tar(tensors, path)
        else:
            write_safetensors(tensors, path)
    return Packed(task.name, len(tensors["input_ids"]), int(np.count_nonzero(tensors["document_ids"])))


def read_tokens(task: ShardTask) -> Tokens:
    """The documents of the shard, in order of the parts."""
    ids, lengths, answers = list[NDArray[np.uint32]](), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for part in task.parts:
        sizes = read_array(task.folder, part, f"{task.split}.lengths")
        if len(sizes) == 0:
            continue
        uri = part_uri(task.folder, part, f"{task.split}.ids")
        stream = np.memmap(store_for(uri).fetch(uri), dtype=np.uint32, mode="r")
        mine = shard_of(read_array(task.folder, part, f"{task.split}.keys"), task.of) == task.number
        ids.append(taken(stream, sizes, mine))
        lengths.append(np.asarray(sizes[mine]))
        if has_answers(task, part):
            answers.append(np.asarray(read_array(task.folder, part, f"{task.split}.answers")[mine]))
    sizes = np.concatenate([np.zeros(0, dtype=np.int64), *lengths])
    mask = answer_mask(sizes, np.concatenate(answers)) if answers else None
    return Tokens(np.concatenate([np.zeros(0, dtype=np.uint32), *ids]), sizes, mask)


def has_answers(task: ShardTask, part: int) -> bool:
    """Whether the documents of a part are conversations."""
    uri = part_uri(task.folder, part, f"{task.split}.answers.npy")
    return bool(store_for(uri).entries(uri))


def shard_of(keys: NDArray[np.uint64], of: int) -> NDArray[np.int64]:
    """The shard of each key: equal stretches of all keys."""
    return ((keys >> np.uint64(32)) * np.uint64(of) >> np.uint64(32)).astype(np.int64)


def taken(stream: NDArray[np.uint32], sizes: NDArray[np.int64], mine: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """The tokens of the documents that are wanted, read front to back."""
    if mine.all():
        return np.asarray(stream)
    ends = np.cumsum(sizes)
    pieces = [stream[end - size : end] for end, size in zip(ends[mine].tolist(), sizes[mine].tolist(), strict=True)]
    return np.concatenate([np.zeros(0, dtype=np.uint32), *pieces])


def write_tar(tensors: Tensors, path: Path) -> None:
    """A WebDataset tar: each sequence a sample, its tensors NumPy files of one row; all samples are of one size."""
    with (
        writing(path),
        path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT, bufsize=1 << 20) as archive,
    ):
        for name, content in tar_members(tensors):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def tar_members(tensors: Tensors) -> Iterator[tuple[str, bytes]]:
    """`00000012.input_ids.npy` and its content: what the names share up to the first dot is the sample's key."""
    for number in range(len(tensors["input_ids"])):
        for name, tensor in tensors.items():
            content = io.BytesIO()
            np.lib.format.write_array_header_1_0(content, np.lib.format.header_data_from_array_1_0(tensor[number]))
            content.write(np.ascontiguousarray(tensor[number]).data)
            yield f"{number:08d}.{name}.npy", content.getvalue()
